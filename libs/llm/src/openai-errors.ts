import { APIConnectionError, APIError } from 'openai';
import { RetryableError, TerminalError, type BatonError } from '#libs/contracts';

/** Translates what the SDK throws. Messages never repeat the provider's own words: those may quote the prompt. */
export function modelError(error: unknown): BatonError {
  if (error instanceof RetryableError || error instanceof TerminalError) return error;
  if (error instanceof APIError && typeof error.status === 'number')
    return answeredError(error, error.status);
  const code = networkCode(error);
  if (error instanceof APIConnectionError)
    return unavailable(`The model API is unreachable${code ? `: ${code}` : ''}`);
  return unavailable(`The model's answer broke off${code ? `: ${code}` : ''}`);
}

export function unavailable(message: string, retryAfterMs?: number): RetryableError {
  return new RetryableError('model_unavailable', message, { retryAfterMs });
}

function answeredError(error: APIError, status: number): BatonError {
  const retryAfterMs = retryAfter(error.headers);
  if (status === 429)
    return new RetryableError('model_rate_limited', 'The model API is rate limited', { retryAfterMs });
  if (status === 408 || status === 425 || status >= 500)
    return unavailable(`The model API answered ${status}`, retryAfterMs);
  const reason = [error.code, error.type].find(
    (word) => typeof word === 'string' && /^[\w.-]{1,64}$/.test(word),
  );
  return new TerminalError(
    'model_request_rejected',
    `The model API rejected the request: ${status}${reason ? ` ${reason}` : ''}`,
    { status: 502 },
  );
}

/** Milliseconds from `retry-after-ms` or `Retry-After` (seconds or an HTTP date, RFC 9110 §10.2.3). */
export function retryAfter(headers: Headers | undefined, now = Date.now()): number | undefined {
  const milliseconds = Number(headers?.get('retry-after-ms') ?? Number.NaN);
  if (milliseconds >= 0) return milliseconds;
  const value = headers?.get('retry-after');
  if (!value) return undefined;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return seconds >= 0 ? seconds * 1000 : undefined;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** The innermost system or undici error code, e.g. `ECONNREFUSED`. */
function networkCode(error: unknown): string | undefined {
  let code: string | undefined;
  let current = error as { code?: unknown; cause?: unknown } | undefined;
  for (let depth = 0; current && depth < 5; depth += 1) {
    if (typeof current.code === 'string' && /^[A-Z_]{3,40}$/.test(current.code)) code = current.code;
    current = current.cause as typeof current;
  }
  return code;
}
