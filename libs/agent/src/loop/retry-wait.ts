import { pause } from '#libs/chassis';
import type { LiveRetry } from '#libs/contracts';
import type { Lease } from '../lease.js';

/** A watcher that comes during a long wait hears of it within this time. */
const TELL_MS = 5000;

export type RetryReason = Pick<LiveRetry, 'code' | 'text' | 'attempt' | 'max_attempts'>;

/**
 * Waits `ms` before the attempt after `reason.attempt`, and tells why, how long and up to when: at once, and every `everyMs`.
 * @throws the reason of the lease's signal
 */
export async function waitForRetry(
  reason: RetryReason,
  ms: number,
  lease: Pick<Lease, 'signal' | 'remainingMs'>,
  tell: (news: LiveRetry) => void,
  everyMs = TELL_MS,
): Promise<void> {
  const end = performance.now() + ms;
  for (let left = ms; left >= 1; left = end - performance.now()) {
    const deadline_ms = Math.round(lease.remainingMs());
    tell({ kind: 'retry', ...reason, retry_after_ms: Math.round(left), deadline_ms });
    await pause(Math.min(left, everyMs), lease.signal);
  }
}
