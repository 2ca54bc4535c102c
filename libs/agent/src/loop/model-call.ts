import { setTimeout as sleep } from 'node:timers/promises';
import { RetryableError } from '#libs/contracts';
import { failpoint } from '#libs/chassis';
import type { ChatReply, ChatRequest, Llm } from '#libs/llm';
import { backoffMs } from '#libs/tools';
import type { Lease } from '../lease.js';

/** Attempts of one model call over all its retries: the only place where they are retried. */
const MAX_ATTEMPTS = 30;
/** Milliseconds; also used where the loop waits for another dependency. */
export const BACKOFF = { baseMs: 250, maxMs: 30_000 };

/**
 * Asks the model, again with exponential backoff and full jitter (or when the provider says) while the failure is retryable,
 * until the task's deadline aborts the lease's signal.
 * @throws the last error when it is terminal or the attempts are used up; the signal's reason when the run was stopped
 */
export async function callModel(
  llm: Llm,
  request: Omit<ChatRequest, 'signal'>,
  lease: Lease,
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
      if (!(error instanceof RetryableError) || attempt >= MAX_ATTEMPTS) throw error;
      await pause(
        Math.min(error.retryAfterMs ?? backoffMs(attempt - 1, BACKOFF), lease.remainingMs()),
        lease.signal,
      );
    }
  }
}

/** @throws the signal's reason as soon as it aborts */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}
