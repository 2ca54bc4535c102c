import { validationError } from './errors.js';
import { TASK_LIMITS } from './task.js';

export const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;
/** Longest deadline that may be asked for, in milliseconds. */
export const MAX_DEADLINE_MS = 86_400_000;
/** Initial metadata of a gRPC call that names its task. */
export const TASK_ID_METADATA = 'baton-task-id';
/** No journal is longer. */
export const MAX_SEQUENCE = 1_000_000;

/** The header `Idempotency-Key`. @throws TerminalError `validation` */
export function idempotencyKeyOf(header: string | undefined): string | null {
  if (header === undefined) return null;
  if (IDEMPOTENCY_KEY.test(header)) return header;
  throw wrong('Idempotency-Key', `must be 1 to ${TASK_LIMITS.idempotencyKeyChars} visible ASCII characters`);
}

/** The header `X-Deadline-Ms`: milliseconds from now in which the caller wants the task to end. @throws TerminalError `validation` */
export function deadlineMsOf(header: string | undefined): number | null {
  if (header === undefined) return null;
  const ms = /^\d{1,8}$/.test(header) ? Number(header) : 0;
  if (ms >= 1 && ms <= MAX_DEADLINE_MS) return ms;
  throw wrong('X-Deadline-Ms', `must be a whole number from 1 to ${MAX_DEADLINE_MS}`);
}

/** The header `Last-Event-ID`: the sequence after which a stream goes on. @throws TerminalError `validation` */
export function lastEventIdOf(header: string | undefined): number {
  const sequence = Number(header ?? 0);
  if (Number.isInteger(sequence) && sequence >= 0 && sequence <= MAX_SEQUENCE) return sequence;
  throw wrong('Last-Event-ID', 'must be the id of an event');
}

const wrong = (field: string, rule: string) => validationError([{ field, message: `${field} ${rule}` }]);
