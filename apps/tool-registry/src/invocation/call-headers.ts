import { TASK_LIMITS, validationError, type FieldError } from '#libs/contracts';

export interface CallHeaders {
  idempotencyKey: string | null;
  requestId: string;
  deadlineMs: number | null;
  traceparent: string | null;
}

const MAX_DEADLINE_MS = 600_000;
const VISIBLE_ASCII = new RegExp(`^[\\x21-\\x7e]{1,${TASK_LIMITS.idempotencyKeyChars}}$`);
const TRACEPARENT = /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/;

/** @throws TerminalError 400 `validation` naming every header that is wrong. */
export function readCallHeaders(headers: Record<string, string | undefined>): CallHeaders {
  const errors: FieldError[] = [];
  const text = (name: string): string | null => {
    const value = headers[name.toLowerCase()];
    if (value === undefined) return null;
    if (!VISIBLE_ASCII.test(value))
      errors.push({ field: name, message: '1 to 255 visible ASCII characters are wanted' });
    return value;
  };
  const idempotencyKey = text('Idempotency-Key');
  const requestId = text('X-Request-Id');
  const deadline = headers['x-deadline-ms'];
  const isDeadline = deadline === undefined || (/^\d{1,9}$/.test(deadline) && Number(deadline) >= 1);
  if (!isDeadline)
    errors.push({ field: 'X-Deadline-Ms', message: 'a whole number of milliseconds, at least 1, is wanted' });
  if (errors.length > 0) throw validationError(errors);
  const traceparent = headers['traceparent'] ?? '';
  return {
    idempotencyKey,
    requestId: idempotencyKey ?? requestId ?? crypto.randomUUID(),
    deadlineMs: deadline === undefined ? null : Math.min(Number(deadline), MAX_DEADLINE_MS),
    traceparent: TRACEPARENT.test(traceparent) ? traceparent : null,
  };
}
