import { Inject, Injectable } from '@nestjs/common';
import type { EntryBody, JournalEntry, TaskStatus } from '#libs/contracts';
import { Batcher, Database } from '#libs/database';
import type { Dispatch } from '#libs/messaging';
import {
  claimedOf,
  factsOf,
  heldKey,
  type ClaimedTask,
  type ClaimRow,
  type FactsRow,
  type TaskFacts,
} from './claimed-task.js';
import { dueAt, messageRows, type TakenAlong } from './outbox.js';
import { APPEND, CLAIM, FACTS, FINISH, FINISH_UNHELD } from './run.statements.js';

export interface Append {
  taskId: string;
  epoch: number;
  seq: number;
  body: EntryBody;
  /** Messages that are sent if, and only if, this is written; so in `Finish`. */
  messages?: TakenAlong[];
}

export interface Finish {
  taskId: string;
  epoch: number;
  /** Entries that end the journal, `finish` last. */
  entries: Array<{ seq: number; body: EntryBody }>;
  status: TaskStatus;
  output: string | null;
  error: string | null;
  detail: string | null;
  stepsUsed: number;
  tokensUsed: number;
  toolCalls: number;
  durationMs: number;
  messages?: TakenAlong[];
}

/** What a write under a lease met: `fenced` when another epoch has the task. */
export type Fenced = { fenced: true };
export type Appended = { fenced: false; at: string; cancelRequested: boolean };
/** `next` is the dispatch of the session's next task. */
export type Finished = { fenced: false; at: string; next: Dispatch | null };

interface AppendRow {
  id: string;
  epoch: number;
  at: Date;
  cancel_requested: boolean;
}

interface EntryRow {
  seq: number;
  at: Date;
  body: EntryBody;
}

interface FinishRow {
  id: string;
  epoch: number;
  finished_at: Date;
  next_id: string | null;
  next_no: number | null;
}

const UNIQUE_VIOLATION = '23505';

/** Lease and journal: every write of a run, each fenced by its epoch in the same statement. Writes that arrive together share a commit. */
@Injectable()
export class RunRepository {
  private readonly claims: Batcher<{ id: string; leaseMs: number }, ClaimedTask | null>;
  private readonly appends: Batcher<Append, Appended | Fenced>;
  private readonly finishes: Batcher<Finish, Finished | Fenced>;

  constructor(@Inject(Database) private readonly database: Database) {
    this.claims = new Batcher((items) => this.claimAll(items));
    this.appends = new Batcher((items) => this.appendAll(items));
    this.finishes = new Batcher((items) => this.finishAll(items));
  }

  /** Takes the lease; null when another worker has it, the task has ended, or an earlier task of its session has not. */
  claim(id: string, leaseMs: number): Promise<ClaimedTask | null> {
    return this.claims.add({ id, leaseMs });
  }

  append(entry: Append): Promise<Appended | Fenced> {
    return this.appends.add(entry);
  }

  finish(finish: Finish): Promise<Finished | Fenced> {
    return this.finishes.add(finish);
  }

  /** A task that has not ended and that no live worker has, with its epoch and age (milliseconds). */
  async unheld(taskId: string): Promise<(TaskFacts & { epoch: number; elapsedMs: number }) | null> {
    const [row] = await this.database.query<FactsRow & { epoch: number; elapsed_ms: number }>(
      `select ${FACTS}, epoch, (extract(epoch from now() - created_at) * 1000)::float8 as elapsed_ms from agents.tasks
       where id = $1 and status in ('pending', 'running') and (lease_until is null or lease_until < now())`,
      [taskId],
    );
    return row ? { ...factsOf(row), epoch: row.epoch, elapsedMs: row.elapsed_ms } : null;
  }

  /** Ends a task that no live worker has; `fenced` when one has it by now. */
  async finishUnheld(finish: Finish): Promise<Finished | Fenced> {
    try {
      const [row] = await this.database.query<FinishRow>(FINISH_UNHELD, valuesOf([finish]));
      return row ? finishedOf(row) : { fenced: true };
    } catch (error) {
      // The place in the journal was taken meanwhile: somebody has the task.
      if ((error as { code?: string }).code === UNIQUE_VIOLATION) return { fenced: true };
      throw error;
    }
  }

  /** Entries after `after`, in order. */
  async entries(taskId: string, after = 0): Promise<JournalEntry[]> {
    const rows = await this.database.query<EntryRow>(
      {
        name: 'journal-entries',
        text: 'select seq, at, body from agents.journal where task_id = $1 and seq > $2 order by seq',
      },
      [taskId, after],
    );
    return rows.map(entryOf);
  }

  async lastEntry(taskId: string): Promise<JournalEntry | undefined> {
    const rows = await this.database.query<EntryRow>(
      {
        name: 'journal-last-entry',
        text: 'select seq, at, body from agents.journal where task_id = $1 order by seq desc limit 1',
      },
      [taskId],
    );
    return rows.map(entryOf)[0];
  }

  /** Extends the leases that are still held; the answer names those, with their cancel flags. */
  async renew(
    held: Array<{ id: string; epoch: number }>,
    leaseMs: number,
  ): Promise<Map<string, { cancelRequested: boolean }>> {
    const rows = await this.database.query<{ id: string; epoch: number; cancel_requested: boolean }>(
      {
        name: 'runs-renew',
        text: `with mine as (
                 select t.id from (select * from unnest($1::uuid[], $2::int[]) as r(id, epoch) order by id) h
                 join agents.tasks t on t.id = h.id and t.epoch = h.epoch where t.status = 'running' and t.lease_until is not null for update of t)
               update agents.tasks t set lease_until = now() + $3 * interval '1 ms' from mine where t.id = mine.id
               returning t.id, t.epoch, t.cancel_requested`,
      },
      [held.map(({ id }) => id), held.map(({ epoch }) => epoch), leaseMs],
    );
    return new Map(rows.map((row) => [heldKey(row), { cancelRequested: row.cancel_requested }]));
  }

  /** Hands tasks over: no lease, no crash, dispatched anew. */
  async release(held: Array<{ id: string; epoch: number }>): Promise<Dispatch[]> {
    const rows = await this.database.query<{ id: string; dispatch_no: number }>(
      `with mine as (
         select t.id from (select * from unnest($1::uuid[], $2::int[]) as r(id, epoch) order by id) h
         join agents.tasks t on t.id = h.id and t.epoch = h.epoch where t.status = 'running' for update of t
       ), released as (
         update agents.tasks t set lease_until = null, dispatch_no = t.dispatch_no + 1, dispatched_at = now()
         from mine where t.id = mine.id
         returning t.id, t.dispatch_no, t.agent_id, t.created_at
       ), told as (
         insert into agents.outbox (task_id, dispatch_no, agent_id, due_at)
         select id, dispatch_no, agent_id, ${dueAt('created_at')} from released
       )
       select id, dispatch_no from released`,
      [held.map(({ id }) => id), held.map(({ epoch }) => epoch)],
    );
    return rows.map((row) => ({ taskId: row.id, dispatchNo: row.dispatch_no }));
  }

  private async claimAll(items: Array<{ id: string; leaseMs: number }>): Promise<Array<ClaimedTask | null>> {
    const rows = await this.database.query<ClaimRow>(CLAIM, [items.map(({ id }) => id), items[0]!.leaseMs]);
    const claimed = new Map(rows.map((row) => [row.id, row]));
    return items.map(({ id }) => {
      const row = claimed.get(id);
      // Two dispatches of one task in one batch are one claim.
      claimed.delete(id);
      return row ? claimedOf(row) : null;
    });
  }

  private async appendAll(items: Append[]): Promise<Array<Appended | Fenced>> {
    const rows = await this.database.query<AppendRow>(APPEND, valuesOf(items));
    const added = new Map(rows.map((row) => [heldKey(row), row]));
    const keyOf = (item: Append) => heldKey({ id: item.taskId, epoch: item.epoch });
    const missing = items.filter((item) => !added.has(keyOf(item)));
    if (missing.length > 0)
      for (const row of await this.alreadyAppended(missing)) added.set(heldKey(row), row);
    return items.map((item) => {
      const row = added.get(keyOf(item));
      return row
        ? { fenced: false, at: row.at.toISOString(), cancelRequested: row.cancel_requested }
        : { fenced: true };
    });
  }

  /** A write whose answer was lost is found here on its repetition: same place, same epoch. */
  private alreadyAppended(items: Append[]) {
    return this.database.query<AppendRow>(
      `select j.task_id as id, j.epoch, j.at, t.cancel_requested from agents.journal j
       join unnest($1::uuid[], $2::int[], $3::int[]) as e(id, epoch, seq) on j.task_id = e.id and j.epoch = e.epoch and j.seq = e.seq
       join agents.tasks t on t.id = j.task_id and t.epoch = j.epoch and t.status = 'running'`,
      [items.map((item) => item.taskId), items.map((item) => item.epoch), items.map((item) => item.seq)],
    );
  }

  private async finishAll(items: Finish[]): Promise<Array<Finished | Fenced>> {
    const rows = await this.database.query<FinishRow>(FINISH, valuesOf(items));
    const ended = new Map(rows.map((row) => [heldKey(row), row]));
    const keyOf = (item: Finish) => heldKey({ id: item.taskId, epoch: item.epoch });
    const missing = items.filter((item) => !ended.has(keyOf(item)));
    if (missing.length > 0)
      for (const row of await this.alreadyFinished(missing)) ended.set(heldKey(row), row);
    return items.map((item) => {
      const row = ended.get(keyOf(item));
      return row ? finishedOf(row) : { fenced: true };
    });
  }

  private alreadyFinished(items: Finish[]) {
    return this.database.query<FinishRow>(
      `select t.id, t.epoch, t.finished_at, null as next_id, null as next_no
       from agents.tasks t join unnest($1::uuid[], $2::int[]) as f(id, epoch) on t.id = f.id and t.epoch = f.epoch
       where t.finished_at is not null`,
      [items.map((item) => item.taskId), items.map((item) => item.epoch)],
    );
  }
}

function finishedOf(row: FinishRow): Finished {
  const next = row.next_id === null ? null : { taskId: row.next_id, dispatchNo: row.next_no! };
  return { fenced: false, at: row.finished_at.toISOString(), next };
}

/** The parameters of APPEND and FINISH. */
function valuesOf(writes: Array<Append | Finish>): unknown[] {
  const rows = writes.map(({ messages: _messages, ...row }) => row);
  return [JSON.stringify(rows), rows.length, messageRows(writes)];
}

const entryOf = ({ seq, at, body }: EntryRow): JournalEntry => ({ seq, at: at.toISOString(), body });
