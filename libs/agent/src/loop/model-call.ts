import { RetryableError } from '#libs/contracts';
import { backoffMs, failpoint } from '#libs/chassis';
import type { ChatReply, ChatRequest, Llm } from '#libs/llm';
import type { Lease } from '../lease.js';

/** Attempts of one model call over all its retries: the only place where they are retried. */
export const MODEL_ATTEMPTS = 30;

/** Waits `ms` before the next attempt. @throws the signal's reason when the run was stopped */
export type WaitForRetry = (error: RetryableError, attempt: number, ms: number) => Promise<void>;

/**
 * Asks the model, again with exponential backoff and full jitter (or when the provider says) while the failure is retryable,
 * until the task's deadline aborts the lease's signal.
 * @throws the last error when it is terminal or the attempts are used up; the signal's reason when the run was stopped
 */
export async function callModel(
  llm: Llm,
  request: Omit<ChatRequest, 'signal'>,
  lease: Lease,
  wait: WaitForRetry,
): Promise<ChatReply> {
  for (let attempt = 1; ; attempt += 1) {
    await lease.assertHeld();
    await failpoint('run.before-llm');
    try {
      const reply = await llm.complete({ ...request, signal: lease.signal });
      await failpoint('run.after-llm');
      return reply;
    } catch (error) {
      lease.signal.throwIfAborted();
      if (!(error instanceof RetryableError) || attempt >= MODEL_ATTEMPTS) throw error;
      await wait(error, attempt, Math.min(error.retryAfterMs ?? backoffMs(attempt - 1), lease.remainingMs()));
    }
  }
}
