import {
  BatonError,
  messageOf,
  type AgentTaskEvent,
  type DeadLetterEvent,
  type FieldError,
} from '#libs/contracts';
import type { OutboxMessage, PoisonMessage } from './handoff.js';

/** Bytes of an unreadable message that its dead letter keeps. */
const MAX_PAYLOAD_BYTES = 262_144;
const MAX_HEADER_CHARS = 4096;
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
  return {
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
    task_json: task ? JSON.stringify(task) : null,
    topic: raw.topic,
    partition: raw.partition,
    offset: raw.offset === null ? null : Number(raw.offset),
    message_id: raw.id,
    headers: withoutSecrets(raw.headers),
    payload: message ? null : raw.value.subarray(0, MAX_PAYLOAD_BYTES).toString('base64'),
    payload_bytes: raw.value.length,
    created_at: Date.now(),
  };
}

/** The dead letter of a message of the outbox that can never be sent: it breaks its schema, is too large, or nobody may send it. */
export function unsendable(
  message: Pick<OutboxMessage, 'id' | 'destination' | 'kind' | 'key'> & { body: object },
  cause: BatonError,
  reportedBy: string,
): DeadLetterEvent {
  const about = message.body as Partial<Record<keyof AgentTaskEvent, unknown>>;
  const text = (value: unknown) => (typeof value === 'string' ? value : null);
  const whole = JSON.stringify(message.body);
  return {
    reason: cause.code,
    last_error: `${message.kind} to ${message.destination}: ${cause.message}`,
    errors: fieldsOf(cause),
    retry_count: 0,
    auto_retry_eligible: false,
    reported_by: reportedBy,
    target_agent: text(about.target_agent),
    task_id: text(about.task_id),
    session_id: message.key,
    task_json: message.kind === 'AgentTaskEvent' && whole.length < MAX_PAYLOAD_BYTES ? whole : null,
    topic: null,
    partition: null,
    offset: null,
    message_id: message.id ?? null,
    headers: {},
    payload: Buffer.from(whole).subarray(0, MAX_PAYLOAD_BYTES).toString('base64'),
    payload_bytes: Buffer.byteLength(whole),
    created_at: Date.now(),
  };
}

function fieldsOf(cause: unknown): FieldError[] {
  return cause instanceof BatonError ? (cause.errors ?? []).slice(0, 100) : [];
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
