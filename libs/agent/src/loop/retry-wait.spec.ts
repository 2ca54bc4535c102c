import type { LiveRetry } from '#libs/contracts';
import { waitForRetry } from './retry-wait.js';

const AWAY = { code: 'model_unavailable', text: 'away', attempt: 2, max_attempts: 30 };
const lease = (signal = new AbortController().signal) => ({ signal, remainingMs: () => 900_000.4 });

describe('waitForRetry', () => {
  it('tells at once and from time to time what is left', async () => {
    const told: LiveRetry[] = [];
    const started = performance.now();
    await waitForRetry(AWAY, 300, lease(), (news) => told.push(news), 20);
    expect(performance.now() - started).toBeGreaterThan(295);
    expect(told.length).toBeGreaterThanOrEqual(3);
    expect(told[0]).toEqual({ kind: 'retry', ...AWAY, retry_after_ms: 300, deadline_ms: 900_000 });
    const left = told.map((news) => news.retry_after_ms);
    expect(left).toEqual(left.toSorted((a, b) => b - a));
  });

  it('ends with the reason of its signal', async () => {
    const stop = new AbortController();
    const waiting = waitForRetry(AWAY, 60_000, lease(stop.signal), () => stop.abort(new Error('enough')));
    await expect(waiting).rejects.toThrow('enough');
  });
});
