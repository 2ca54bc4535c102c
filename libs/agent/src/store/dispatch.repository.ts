import { Inject, Injectable } from '@nestjs/common';
import { Database } from '#libs/database';
import type { Dispatch } from '#libs/messaging';
import { dueAt } from './outbox.js';
import { UNFINISHED } from './unfinished-tasks.migration.js';

interface Row {
  task_id: string;
  dispatch_no: number;
}

/** Of `DispatchRepository.waiting`; exported for the test of its plan. */
export const WAITING = `
  with page as materialized (
    select t.id, t.dispatch_no, t.accepted_no, t.tenant, t.agent_id, t.session_id, t.lease_until, t.dispatched_at
    from agents.tasks t where t.agent_id = $1 and ${UNFINISHED} and t.accepted_no > $3
    order by t.accepted_no limit $4)
  select (select max(accepted_no) from page having count(*) = $4) as next,
    (select coalesce(json_agg(json_build_object('taskId', t.id, 'dispatchNo', t.dispatch_no) order by t.accepted_no), '[]')
     from page t
     where t.lease_until is null and t.dispatched_at < now() - $2 * interval '1 ms'
       and not exists (select 1 from agents.outbox o where o.task_id = t.id and o.dispatch_no = t.dispatch_no offset 0)
       and not exists (
         select 1 from agents.tasks e
         where e.tenant = t.tenant and e.agent_id = t.agent_id and e.session_id = t.session_id
           and e.finished_at is null and e.accepted_no < t.accepted_no
         offset 0)) as dispatches`;

/** Table `agents.outbox`, and the tasks that need another dispatch. */
@Injectable()
export class DispatchRepository {
  constructor(@Inject(Database) private readonly database: Database) {}

  /**
   * Hands due dispatches, those of the oldest tasks first, to `tell` and forgets them when it resolves. What is being told belongs to this relay for `holdMs`
   * milliseconds, so that two relays never tell the same and no connection waits for the queue. Returns how many.
   */
  async relay(
    agentId: string,
    limit: number,
    holdMs: number,
    tell: (dispatches: Dispatch[]) => Promise<void>,
  ): Promise<number> {
    const rows = await this.database.query<Row>(
      `with due as (
         select task_id, dispatch_no, due_at from agents.outbox where agent_id = $1 and due_at <= now() and (held_until is null or held_until <= now())
         order by due_at limit $2 for update skip locked
       ), held as (
         update agents.outbox o set held_until = now() + $3 * interval '1 ms' from due
         where o.task_id = due.task_id and o.dispatch_no = due.dispatch_no
       )
       select task_id, dispatch_no from due order by due_at`,
      [agentId, limit, holdMs],
    );
    if (rows.length === 0) return 0;
    await tell(rows.map(toDispatch));
    await this.database.query(
      `delete from agents.outbox o using unnest($1::uuid[], $2::int[]) as t(id, no) where o.task_id = t.id and o.dispatch_no = t.no`,
      [rows.map((row) => row.task_id), rows.map((row) => row.dispatch_no)],
    );
    return rows.length;
  }

  /** Dispatches tasks anew whose lease ran out; those it dispatched less than `graceMs` ago are left to their queue, others to the outbox that has them. */
  async redispatchExpired(agentId: string, graceMs: number, limit: number): Promise<Dispatch[]> {
    return this.redispatch(
      `select id from agents.tasks
       where agent_id = $1 and finished_at is null and status = 'running' and lease_until < now() and dispatched_at < now() - $2 * interval '1 ms'
         and not exists (select 1 from agents.outbox o where o.task_id = id offset 0)
       order by id limit $3 for update skip locked`,
      [agentId, graceMs, limit],
    );
  }

  /**
   * Of the next `limit` unfinished tasks after `after`, by `accepted_no`, those that wait for a worker for longer than `olderThanMs`:
   * they should have a job in Redis. Those behind an earlier task of their session have none, nor those that are still in the outbox
   * (`offset 0`: see `CLAIM`). `next` is where to go on, null at the end: a look costs the same however many wait.
   */
  async waiting(
    agentId: string,
    olderThanMs: number,
    after: string,
    limit: number,
  ): Promise<{ dispatches: Dispatch[]; next: string | null }> {
    const [row] = await this.database.query<{ dispatches: Dispatch[]; next: string | null }>(WAITING, [
      agentId,
      olderThanMs,
      after,
      limit,
    ]);
    return row!;
  }

  /** Dispatches those of `lost` anew that nobody has dispatched or claimed since. */
  async redispatchLost(lost: Dispatch[]): Promise<Dispatch[]> {
    return this.redispatch(
      `select t.id from agents.tasks t join unnest($1::uuid[], $2::int[]) as l(id, no) on t.id = l.id and t.dispatch_no = l.no
       where t.finished_at is null and t.lease_until is null order by t.id for update of t skip locked`,
      [lost.map(({ taskId }) => taskId), lost.map(({ dispatchNo }) => dispatchNo)],
    );
  }

  private async redispatch(which: string, values: unknown[]): Promise<Dispatch[]> {
    const rows = await this.database.query<Row>(
      `with chosen as (${which}), again as (
         update agents.tasks t set dispatch_no = t.dispatch_no + 1, dispatched_at = now() from chosen where t.id = chosen.id
         returning t.id as task_id, t.dispatch_no, t.agent_id, t.created_at
       ), told as (
         insert into agents.outbox (task_id, dispatch_no, agent_id, due_at)
         select task_id, dispatch_no, agent_id, ${dueAt('created_at')} from again
       )
       select task_id, dispatch_no from again`,
      values,
    );
    return rows.map(toDispatch);
  }
}

const toDispatch = (row: Row): Dispatch => ({ taskId: row.task_id, dispatchNo: row.dispatch_no });
