/**
 * Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), never below half the step.
 * `attempt` counts from 0; the answer is in milliseconds.
 */
export function backoffMs(attempt: number, { baseMs, maxMs }: { baseMs: number; maxMs: number }): number {
  const step = Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 20));
  return step / 2 + Math.random() * (step / 2);
}
