import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds; how long to wait for a dependency that may be away for long. */
const BACKOFF = { baseMs: 250, maxMs: 30_000 };

/**
 * Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), never below half the step.
 * `attempt` counts from 0; the answer is in milliseconds.
 */
export function backoffMs(attempt: number, { baseMs, maxMs } = BACKOFF): number {
  const step = Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 20));
  return step / 2 + Math.random() * (step / 2);
}

/** @throws the signal's reason as soon as it aborts */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}
