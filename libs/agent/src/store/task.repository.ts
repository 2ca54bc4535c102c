import { Inject, Injectable } from '@nestjs/common';
import { taskNotFound, type TaskStatus, type TaskView } from '#libs/contracts';
import { Batcher, Database } from '#libs/database';
import { Acceptances, type Accepted, type InboxEntry, type NewTask } from './acceptances.js';
import { LISTED } from './listed-tasks.migration.js';
import type { TakenAlong } from './outbox.js';

/** Whose tasks a caller may see: its tenant's, and of these one user's unless that is null. */
export interface Scope {
  agentId: string;
  tenant: string;
  userId: string | null;
}

export interface ListFilter {
  status?: TaskStatus;
  sessionId?: string;
  /** Only tasks accepted before this one (`accepted_no`). */
  before?: string;
  limit: number;
}

interface ViewRow {
  id: string;
  accepted_no: string;
  agent_id: string;
  session_id: string;
  status: TaskStatus;
  output: string | null;
  error: string | null;
  error_detail: string | null;
  steps_used: number;
  tokens_used: number;
  tool_calls: number;
  duration_ms: number | null;
  cancel_requested: boolean;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
  now: Date;
}

const VIEW_COLUMNS = `id, accepted_no, agent_id, session_id, status, output, error, error_detail, steps_used, tokens_used,
  tool_calls, duration_ms, cancel_requested, created_at, started_at, finished_at, now()`;

/** Table `agents.tasks` as the doors see it. */
@Injectable()
export class TaskRepository {
  private readonly acceptances: Acceptances;
  private readonly endings: Batcher<string, boolean>;

  constructor(@Inject(Database) private readonly database: Database) {
    this.acceptances = new Acceptances(database);
    this.endings = new Batcher(async (ids) => {
      const ended = new Set(await this.ended(ids));
      return ids.map((id) => ended.has(id));
    });
  }

  /** Task, outbox row and what comes with them in one commit; with a known id or idempotency key the task that has it. */
  async accept(task: NewTask): Promise<Accepted> {
    return (await this.acceptances.add(task))!;
  }

  /** The same, with the inbox row of `message`. Null: the message was seen before, and there is no task of it (any more). */
  acceptMessage(task: NewTask, message: InboxEntry): Promise<Accepted | null> {
    return this.acceptances.add({ ...task, message });
  }

  /** Answers a message that names a task which has ended: once, with its inbox row. */
  answerAgain(message: InboxEntry, taskId: string, messages: TakenAlong[]): Promise<void> {
    return this.acceptances.answer(message, taskId, messages);
  }

  /** Whether the tenant already has a task of this id or idempotency key. */
  async isKnown(tenant: string, id: string | null, idempotencyKey: string | null): Promise<boolean> {
    if (id === null && idempotencyKey === null) return false;
    const rows = await this.database.query(
      'select 1 from agents.tasks where tenant = $1 and (id = $2 or idempotency_key = $3) limit 1',
      [tenant, id, idempotencyKey],
    );
    return rows.length > 0;
  }

  /** @throws TerminalError `task-not-found` (404) */
  async require(id: string, scope: Scope): Promise<TaskView> {
    const [row] = await this.database.query<ViewRow>(
      {
        name: 'tasks-require',
        text: `select ${VIEW_COLUMNS} from agents.tasks where id = $1 and ${inScope(2)}`,
      },
      [id, ...scopeValues(scope)],
    );
    if (!row) throw taskNotFound();
    return viewOf(row.status === 'running' ? { ...row, ...(await this.progress(id)) } : row);
  }

  /** What a running task has used so far, from its journal. */
  private async progress(id: string): Promise<Pick<ViewRow, 'steps_used' | 'tokens_used' | 'tool_calls'>> {
    const [row] = await this.database.query<Pick<ViewRow, 'steps_used' | 'tokens_used' | 'tool_calls'>>(
      `select count(*) filter (where body->>'kind' = 'model')::int as steps_used,
              coalesce(sum((body->'usage'->>'prompt_tokens')::int + (body->'usage'->>'completion_tokens')::int), 0)::int as tokens_used,
              coalesce(sum(json_array_length(body->'results')), 0)::int as tool_calls
       from agents.journal where task_id = $1`,
      [id],
    );
    return row!;
  }

  /** Newest first; the second value is the cursor of the next page. */
  async list(scope: Scope, filter: ListFilter): Promise<{ tasks: TaskView[]; next: string | null }> {
    const values: unknown[] = scopeValues(scope);
    const where = [inScope(1)];
    const add = (condition: string, value: unknown) =>
      where.push(condition.replace('?', `$${values.push(value)}`));
    if (filter.status) add('status = ?', filter.status);
    if (filter.sessionId) add('session_id = ?', filter.sessionId);
    if (filter.before) add('accepted_no < ?', filter.before);
    const rows = await this.database.query<ViewRow>(
      `select ${VIEW_COLUMNS} from agents.tasks where ${where.join(' and ')} and ${LISTED} order by accepted_no desc limit $${values.push(filter.limit + 1)}`,
      values,
    );
    const page = rows.slice(0, filter.limit);
    return { tasks: page.map(viewOf), next: rows.length > page.length ? page.at(-1)!.accepted_no : null };
  }

  hasEnded(id: string): Promise<boolean> {
    return this.endings.add(id);
  }

  /** Those of `ids` that have ended. */
  async ended(ids: string[]): Promise<string[]> {
    const rows = await this.database.query<{ id: string }>(
      {
        name: 'tasks-ended',
        text: `select id from agents.tasks where id = any($1::uuid[]) and finished_at is not null`,
      },
      [ids],
    );
    return rows.map((row) => row.id);
  }

  /** Waiting tasks of the agent by tenant. */
  async backlog(agentId: string): Promise<Map<string, number>> {
    const rows = await this.database.query<{ tenant: string; count: number }>(
      `select tenant, count(*)::int as count from agents.tasks
       where agent_id = $1 and finished_at is null and status = 'pending' group by tenant`,
      [agentId],
    );
    return new Map(rows.map((row) => [row.tenant, row.count]));
  }

  /** Raises the cancel flag of a task that has not ended; null when it has. `held`: a live worker has it. */
  async requestCancel(id: string): Promise<{ held: boolean } | null> {
    const [row] = await this.database.query<{ held: boolean }>(
      `update agents.tasks set cancel_requested = true where id = $1 and status in ('pending', 'running')
       returning coalesce(lease_until > now(), false) as held`,
      [id],
    );
    return row ?? null;
  }

  /** Deletes up to `limit` tasks that ended more than `days` ago, with their journals; returns how many. */
  async prune(agentId: string, days: number, limit: number): Promise<number> {
    const rows = await this.database.query<{ id: string }>(
      `with old as (
         select id from agents.tasks where agent_id = $1 and finished_at < now() - $2 * interval '1 day' limit $3 for update skip locked
       ), entries as (delete from agents.journal using old where task_id = old.id)
       delete from agents.tasks using old where tasks.id = old.id returning tasks.id`,
      [agentId, days, limit],
    );
    return rows.length;
  }
}

const inScope = (first: number): string =>
  `agent_id = $${first} and tenant = $${first + 1} and ($${first + 2}::text is null or user_id = $${first + 2})`;

const scopeValues = ({ agentId, tenant, userId }: Scope): unknown[] => [agentId, tenant, userId];

function viewOf(row: ViewRow): TaskView {
  return {
    task_id: row.id,
    status: row.status,
    output: row.output,
    error: row.error,
    steps_used: row.steps_used,
    tokens_used: row.tokens_used,
    tool_calls: row.tool_calls,
    duration_ms: row.duration_ms ?? row.now.getTime() - row.created_at.getTime(),
    agent_id: row.agent_id,
    session_id: row.session_id,
    error_detail: row.error_detail,
    cancel_requested: row.cancel_requested,
    created_at: row.created_at.toISOString(),
    started_at: row.started_at?.toISOString() ?? null,
    finished_at: row.finished_at?.toISOString() ?? null,
  };
}
