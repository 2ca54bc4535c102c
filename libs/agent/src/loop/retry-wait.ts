import { pause } from '#libs/chassis';
import type { LiveRetry } from '#libs/contracts';

/** A watcher that comes during a long wait hears of it within this time. */
const TELL_MS = 5000;

/** Waits `ms` before the attempt after `attempt`, and tells why and how long: at once, and every `everyMs`. @throws the signal's reason */
export async function waitForRetry(
  { code, text, attempt }: Pick<LiveRetry, 'code' | 'text' | 'attempt'>,
  ms: number,
  signal: AbortSignal,
  tell: (news: LiveRetry) => void,
  everyMs = TELL_MS,
): Promise<void> {
  const end = performance.now() + ms;
  for (let left = ms; left >= 1; left = end - performance.now()) {
    tell({ kind: 'retry', code, text, attempt, retry_after_ms: Math.round(left) });
    await pause(Math.min(left, everyMs), signal);
  }
}
