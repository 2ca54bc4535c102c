import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks `probe` until `accept` likes the answer (default: it is truthy) and returns it. A throwing probe is asked again.
 * @param timeoutMs generous by default (30 s): a test says what happens, not how fast
 * @throws Error with the last answer
 */
export async function eventually<T>(
  probe: () => Promise<T> | T,
  accept: (value: T) => boolean = Boolean,
  { timeoutMs = 30_000, everyMs = 25, what = 'the expected state' } = {},
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (accept(value)) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= deadline)
      throw new Error(`${what} not within ${timeoutMs / 1000} s; last seen: ${describe(last)}`);
    await sleep(everyMs);
  }
}

function describe(value: unknown): string {
  return value instanceof Error ? String(value) : JSON.stringify(value)?.slice(0, 2000);
}
