import type { AgentTask, TaskStatus } from '#libs/contracts';
import { Batcher, type Database } from '#libs/database';
import { dueAt, insertMessages, messageRows, type TakenAlong } from './outbox.js';

/** A task as its acceptance writes it. */
export interface NewTask extends Omit<AgentTask, 'sessionId' | 'id' | 'timeoutMs'> {
  id: string;
  /** True when the id is the caller's own. */
  ownId: boolean;
  agentId: string;
  sessionId: string;
  /** True when the session is this task's alone. */
  ownSession: boolean;
  requestHash: string;
  timeoutMs: number;
  /** Messages that its acceptance sends. */
  messages?: TakenAlong[];
}

/** `message` brought the task: P8, one that was seen before creates nothing. */
type Acceptance = NewTask & { message?: InboxEntry };

/** A message as one consumer has seen it; `id` is that of `inboxId`. */
export interface InboxEntry {
  consumer: string;
  id: string;
}

/** What became of an acceptance: a new task, or the one that already has the id or the idempotency key. */
export interface Accepted {
  id: string;
  tenant: string;
  requestHash: string;
  status: TaskStatus;
  created: boolean;
}

// The acceptances of one session wait for each other's commit: what has a higher `accepted_no` sees all that have a lower one.
// A message enters the inbox only with its task: the same one beside it has the same task id and meets the primary key.
const ACCEPT = {
  name: 'tasks-accept',
  text: `
    with asked as materialized (
      select * from json_to_recordset($1) as i(id uuid, "agentId" text, tenant text, "userId" text, "sessionId" text, "ownSession" boolean,
             "idempotencyKey" text, "requestHash" text, prompt text, metadata json, "maxSteps" int, "tokenBudget" int, traceparent text,
             "timeoutMs" int, "replyTo" text, "streamSteps" boolean, "retryCount" int, scopes text, "subjectToken" text)
    ), ordered as materialized (
      select pg_advisory_xact_lock(session) from (
        select distinct hashtextextended("agentId" || ' ' || tenant || ' ' || "sessionId", 0) as session
        from asked where not "ownSession" order by session) s
    ), brought as materialized (
      select * from json_to_recordset($2) as h("taskId" uuid, consumer text, id uuid)
    ), seen as materialized (
      select h."taskId" from brought h join agents.inbox b on b.consumer = h.consumer and b.message_id = h.id
    ), added as (
      insert into agents.tasks (id, agent_id, tenant, user_id, session_id, idempotency_key, request_hash, prompt, metadata,
                                max_steps, token_budget, traceparent, deadline, reply_to, stream_steps, retry_count,
                                scopes, subject_token)
      select i.id, i."agentId", i.tenant, i."userId", i."sessionId", i."idempotencyKey", i."requestHash", i.prompt, i.metadata,
             i."maxSteps", i."tokenBudget", i.traceparent, now() + i."timeoutMs" * interval '1 ms', i."replyTo", i."streamSteps", i."retryCount",
             i.scopes, i."subjectToken"
      from asked i
      where (select count(*) from ordered) >= 0 and i.id not in (select "taskId" from seen)
      on conflict do nothing
      returning id, agent_id
    ), told as (
      insert into agents.outbox (task_id, dispatch_no, agent_id, due_at)
      select id, 1, agent_id, ${dueAt('now()')} from added
    ), noted as (
      insert into agents.inbox (consumer, message_id)
      select h.consumer, h.id from brought h join added on added.id = h."taskId"
      on conflict do nothing
    ), sent as (${insertMessages('$3', 'join added on added.id = m."taskId"')})
    select id from added`,
};

// A message that is still to be sent is as good as a new one.
const ANSWER = {
  name: 'tasks-answer-again',
  text: `
    with noted as (
      insert into agents.inbox (consumer, message_id) values ($1, $2) on conflict do nothing returning 1
    ) ${insertMessages('$3', 'cross join noted')} on conflict (id) do nothing`,
};

/** Writes acceptances, those that arrive together in one commit. */
export class Acceptances {
  private readonly batcher: Batcher<Acceptance, Accepted | null | Error>;

  constructor(private readonly database: Database) {
    this.batcher = new Batcher((tasks) => this.acceptAll(tasks));
  }

  /** See `TaskRepository.accept` and `acceptMessage`. */
  async add(task: Acceptance): Promise<Accepted | null> {
    const accepted = await this.batcher.add(task);
    if (accepted instanceof Error) throw accepted;
    return accepted;
  }

  /** See `TaskRepository.answerAgain`. */
  async answer({ consumer, id }: InboxEntry, taskId: string, messages: TakenAlong[]): Promise<void> {
    await this.database.query(ANSWER, [consumer, id, messageRows([{ taskId, messages }])]);
  }

  /** What is committed stays accepted, whatever becomes of the look for the others. */
  private async acceptAll(tasks: Acceptance[]): Promise<Array<Accepted | null | Error>> {
    const firsts = firstOfEachId(tasks);
    const rows = await this.database.query<{ id: string }>(ACCEPT, valuesOf([...firsts.values()]));
    const added = new Set(rows.map(({ id }) => firsts.get(id)));
    const others = tasks.filter((task) => !added.has(task));
    const known = others.length > 0 ? await this.findKnown(others).catch((error: Error) => error) : [];
    return tasks.map((task) => {
      if (added.has(task)) {
        const { id, tenant, requestHash } = task;
        return { id, tenant, requestHash, status: 'pending', created: true };
      }
      if (known instanceof Error) return known;
      const existing =
        known.find(({ id }) => id === task.id) ??
        known.find(
          ({ tenant, key }) => key !== null && key === task.idempotencyKey && tenant === task.tenant,
        );
      if (existing) return existing.accepted;
      // Its message was seen before, and its task is no longer kept or never came to be.
      return task.message ? null : new Error('an acceptance conflicted with no task');
    });
  }

  /** The tasks that already have the ids or keys of `tasks`. */
  private async findKnown(
    tasks: NewTask[],
  ): Promise<Array<{ id: string; tenant: string; key: string | null; accepted: Accepted }>> {
    const rows = await this.database.query<{
      id: string;
      tenant: string;
      idempotency_key: string | null;
      request_hash: string;
      status: TaskStatus;
    }>(
      `select t.id, t.tenant, t.idempotency_key, t.request_hash, t.status from agents.tasks t where t.id = any($1::uuid[])
       union
       select t.id, t.tenant, t.idempotency_key, t.request_hash, t.status
       from agents.tasks t join unnest($2::text[], $3::text[]) as k(tenant, key) on t.tenant = k.tenant and t.idempotency_key = k.key`,
      [
        tasks.filter(({ ownId }) => ownId).map(({ id }) => id),
        tasks.map(({ tenant }) => tenant),
        tasks.map(({ idempotencyKey }) => idempotencyKey),
      ],
    );
    return rows.map(({ id, tenant, idempotency_key: key, request_hash, status }) => ({
      id,
      tenant,
      key,
      accepted: { id, tenant, requestHash: request_hash, status, created: false },
    }));
  }
}

/** Two acceptances of one id in one statement could not be told apart: the second meets the first's task afterwards. */
function firstOfEachId(tasks: Acceptance[]): Map<string, Acceptance> {
  const byId = new Map<string, Acceptance>();
  for (const task of tasks) if (!byId.has(task.id)) byId.set(task.id, task);
  return byId;
}

function valuesOf(tasks: Acceptance[]): string[] {
  const rows = tasks.map((task) => ({
    ...task,
    scopes: task.scopes.join(' '),
    message: undefined,
    messages: undefined,
  }));
  const inbox = tasks.flatMap(({ id, message }) => (message ? [{ taskId: id, ...message }] : []));
  const messages = messageRows(tasks.map((task) => ({ taskId: task.id, messages: task.messages })));
  return [JSON.stringify(rows), JSON.stringify(inbox), messages];
}
