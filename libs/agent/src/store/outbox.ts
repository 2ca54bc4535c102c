import type { OutboxMessage } from '#libs/messaging';

/**
 * When the relay takes the dispatch of a task: by the time of its acceptance, so that one that is dispatched again keeps its place before
 * younger ones. A new task waits a second: until then it is told to the queue at once.
 */
export const dueAt = (acceptedAt: string): string => `${acceptedAt} + interval '1 s'`;

/** A message as a row of a statement's JSON parameter; absent members become null. */
interface MessageRow {
  /** Place in the order of publishing. */
  n: number;
  /** The write with which the message stands or falls. */
  taskId: string;
  epoch?: number;
  /** The journal entry that completes the body of an `AgentStepEvent`. */
  seq?: number;
  id?: string;
  source: string;
  destination: string;
  key: string;
  kind: string;
  body: object;
  tenant: string;
  userId: string | null;
  token: string | null;
  scopes: string | null;
  traceparent: string | null;
}

/** A message that a write of the store takes along. */
export type TakenAlong = OutboxMessage & {
  /** The service that sends it. */
  source: string;
  /** The body is completed with the journal entry of this sequence. */
  seq?: number;
};

/** What a write takes along, for `messagesFrom`. Most take nothing: then this costs the text `[]`. */
export function messageRows(
  writes: ReadonlyArray<{ taskId: string; epoch?: number; messages?: readonly TakenAlong[] }>,
): string {
  const rows: MessageRow[] = [];
  for (const { taskId, epoch, messages } of writes)
    for (const { id, seq, source, destination, key, kind, body, subject, traceparent } of messages ?? []) {
      const { tenant, userId, token } = subject;
      const scopes = subject.scopes.length > 0 ? subject.scopes.join(' ') : null;
      const of = { n: rows.length, taskId, epoch, seq, id };
      rows.push({ ...of, source, destination, key, kind, body, tenant, userId, token, scopes, traceparent });
    }
  return JSON.stringify(rows);
}

const COLUMNS =
  'id, source, destination, key, kind, body, tenant, user_id, subject_token, scopes, traceparent';
const SELECTED = (body: string): string =>
  `coalesce(m.id, gen_random_uuid()), m.source, m.destination, m.key, m.kind, ${body}, m.tenant, m."userId", m.token, m.scopes, m.traceparent`;

const RECORD = `m(n int, "taskId" uuid, epoch int, seq int, id uuid, source text, destination text, key text, kind text, body json,
  tenant text, "userId" text, token text, scopes text, traceparent text)`;

/**
 * The part of a statement that puts messages into the outbox: those of `parameter` (`messageRows`) whose write happened, as
 * `join` says.
 */
export const insertMessages = (parameter: string, join: string): string => `
  insert into agents.messages (${COLUMNS})
  select ${SELECTED('m.body')} from json_to_recordset(${parameter}) as ${RECORD} ${join} order by m.n`;

/** As `insertMessages`; `join` also yields the entry `e(seq, at, body)` of a step, which is the text that watchers get. */
export const insertStepMessages = (parameter: string, join: string): string => `
  insert into agents.messages (${COLUMNS})
  select ${SELECTED(`case when m.seq is null then m.body else (m.body::jsonb || jsonb_build_object(
      'created_at', floor(extract(epoch from e.at) * 1000)::bigint,
      'entry_json', '{"seq":' || e.seq || ',"at":"' || to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        || '","body":' || e.body::text || '}'))::json end`)}
  from json_to_recordset(${parameter}) as ${RECORD} ${join} order by m.n`;
