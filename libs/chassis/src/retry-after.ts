import { RetryableError, type BatonError } from '#libs/contracts';

/** Seconds after which the client may ask again, as `Retry-After` says it; undefined when the error says nothing of that. */
export function retryAfterOf(error: BatonError): string | undefined {
  if (error instanceof RetryableError && error.retryAfterMs !== undefined)
    return String(Math.max(1, Math.ceil(error.retryAfterMs / 1000)));
  return error.headers?.['retry-after'] ?? (error.status === 503 ? '1' : undefined);
}
