import {
  BatonError,
  messageOf,
  type AgentTaskEvent,
  type DeadLetterEvent,
  type FieldError,
} from '#libs/contracts';
import type { OutboxMessage, PoisonMessage } from './handoff.js';

/** Bytes of an unreadable message that its dead letter keeps; a third more in Base64. */
const MAX_PAYLOAD_BYTES = 262_144;
/**
 * Bytes of a letter's parts, less than `MAX_MESSAGE_BYTES` together: `task_json`, which any task that is valid fits into, excludes the
 * payload. Texts that identify something come nine times at most.
 */
const SHARE = { task: 917_504, headers: 65_536, errors: 32_768, lastError: 8192, text: 1024 };
const MAX_HEADER_CHARS = 4096;
/** What a member of a list or map costs beside its text. */
const MEMBER_BYTES = 16;
const SECRET_HEADERS = new Set(['authorization', 'cookie']);

/**
 * The dead letter of a message that could not be handled: what was wrong, where it stood, and what is needed to send it again. Tokens are left out.
 * @param reportedBy the service that gave up
 */
export function deadLetterOf(
  { raw, message, code, cause }: PoisonMessage,
  reportedBy: string,
): DeadLetterEvent {
  const task = message?.kind === 'AgentTaskEvent' ? message.body : null;
  const about = (message?.body ?? {}) as Partial<AgentTaskEvent>;
  const json = task && JSON.stringify(task);
  const keepsTask = json !== null && fits(json, SHARE.task);
  return fittingLetter({
    reason: code,
    last_error:
      code === 'handler-failed' ? 'The handler failed; see the log of the service' : messageOf(cause),
    errors: fieldsOf(cause),
    retry_count: about.retry_count ?? 0,
    auto_retry_eligible: false,
    reported_by: reportedBy,
    target_agent: about.target_agent ?? null,
    task_id: about.task_id ?? null,
    session_id: about.session_id ?? (raw.key || null),
    task_json: json,
    topic: raw.topic,
    partition: raw.partition,
    offset: raw.offset === null ? null : Number(raw.offset),
    message_id: raw.id,
    headers: withoutSecrets(raw.headers),
    payload:
      keepsTask || (message && !task) ? null : raw.value.subarray(0, MAX_PAYLOAD_BYTES).toString('base64'),
    payload_bytes: raw.value.length,
    created_at: Date.now(),
  });
}

/** The dead letter of a message of the outbox that can never be sent: it breaks its schema, is too large, or nobody may send it. */
export function unsendable(
  message: Pick<OutboxMessage, 'id' | 'destination' | 'kind' | 'key'> & { body: object },
  cause: BatonError,
  reportedBy: string,
): DeadLetterEvent {
  const about = message.body as Partial<Record<keyof AgentTaskEvent, unknown>>;
  const whole = JSON.stringify(message.body);
  const isTask = message.kind === 'AgentTaskEvent' && fits(whole, SHARE.task);
  return fittingLetter({
    reason: cause.code,
    last_error: `${message.kind} to ${message.destination}: ${cause.message}`,
    errors: fieldsOf(cause),
    retry_count: 0,
    auto_retry_eligible: false,
    reported_by: reportedBy,
    target_agent: text(about.target_agent),
    task_id: text(about.task_id),
    session_id: message.key,
    task_json: isTask ? whole : null,
    topic: null,
    partition: null,
    offset: null,
    message_id: message.id ?? null,
    headers: {},
    payload: isTask ? null : Buffer.from(whole).subarray(0, MAX_PAYLOAD_BYTES).toString('base64'),
    payload_bytes: Buffer.byteLength(whole),
    created_at: Date.now(),
  });
}

/** The letter with each part cut to its share, so that it fits into a message whatever it is about. What would be of no use cut is left out. */
export function fittingLetter(letter: DeadLetterEvent): DeadLetterEvent {
  const short = <T extends string | null>(value: T) => (value === null ? null : cut(value, SHARE.text)) as T;
  const { task_json: json } = letter;
  return {
    ...letter,
    reason: short(letter.reason),
    last_error: cut(letter.last_error, SHARE.lastError),
    errors: firstWithin(SHARE.errors, letter.errors, ({ field, message }) => [field, message]),
    reported_by: short(letter.reported_by),
    target_agent: short(letter.target_agent),
    task_id: short(letter.task_id),
    session_id: short(letter.session_id),
    topic: short(letter.topic),
    message_id: short(letter.message_id),
    task_json: json !== null && fits(json, SHARE.task) ? json : null,
    headers: Object.fromEntries(firstWithin(SHARE.headers, Object.entries(letter.headers), (entry) => entry)),
  };
}

/** The least that a dead letter says: for one of the outbox that cannot be sent as it is. */
export function barestLetter(body: object, reportedBy: string): DeadLetterEvent {
  const given = body as Partial<Record<keyof DeadLetterEvent, unknown>>;
  return fittingLetter({
    reason: text(given.reason) ?? 'unsendable',
    last_error: text(given.last_error) ?? '',
    errors: [],
    retry_count: 0,
    auto_retry_eligible: false,
    reported_by: reportedBy,
    target_agent: text(given.target_agent),
    task_id: text(given.task_id),
    session_id: text(given.session_id),
    task_json: null,
    topic: text(given.topic),
    partition: null,
    offset: null,
    message_id: text(given.message_id),
    headers: {},
    payload: null,
    payload_bytes: null,
    created_at: Date.now(),
  });
}

const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** Those members that have room in `share` bytes beside the ones before them. */
function firstWithin<T>(share: number, members: T[], textsOf: (member: T) => string[]): T[] {
  let left = share;
  return members.filter((member) => {
    const bytes = textsOf(member).reduce((sum, one) => sum + Buffer.byteLength(one), MEMBER_BYTES);
    if (bytes > left) return false;
    left -= bytes;
    return true;
  });
}

const fits = (value: string, bytes: number): boolean => Buffer.byteLength(value) <= bytes;

const cut = (value: string, bytes: number): string =>
  fits(value, bytes) ? value : Buffer.from(value).subarray(0, bytes).toString();

function fieldsOf(cause: unknown): FieldError[] {
  return cause instanceof BatonError ? (cause.errors ?? []) : [];
}

function withoutSecrets(headers: Record<string, string>): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) => !SECRET_HEADERS.has(name.toLowerCase()));
  // Postgres cannot store NUL, and what cannot be stored could not be given up.
  return Object.fromEntries(
    kept.map(([name, value]) => [clean(name), clean(value.slice(0, MAX_HEADER_CHARS))]),
  );
}

// oxlint-disable-next-line no-control-regex -- NUL is what it is about
const clean = (text: string): string => text.replaceAll(/\u0000/g, '�').toWellFormed();
