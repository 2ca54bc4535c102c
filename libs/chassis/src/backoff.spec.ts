import { backoffMs, pause } from './backoff.js';

describe('backoffMs', () => {
  it('doubles from the base to the most, and spreads over the upper half of each step', () => {
    const random = jest.spyOn(Math, 'random');
    const steps = (jitter: number) => {
      random.mockReturnValue(jitter);
      return [0, 1, 2, 3, 100].map((attempt) => backoffMs(attempt, { baseMs: 100, maxMs: 500 }));
    };
    expect(steps(0)).toEqual([50, 100, 200, 250, 250]);
    expect(steps(1)).toEqual([100, 200, 400, 500, 500]);
    random.mockRestore();
  });
});

describe('pause', () => {
  it('waits', async () => {
    const started = performance.now();
    await pause(30, new AbortController().signal);
    expect(performance.now() - started).toBeGreaterThan(25);
  });

  it.each([0, 10])('ends with the reason of a signal that aborts after %i ms', async (ms) => {
    const stop = new AbortController();
    if (ms === 0) stop.abort(new Error('enough'));
    else setTimeout(() => stop.abort(new Error('enough')), ms);
    await expect(pause(60_000, stop.signal)).rejects.toThrow('enough');
  });
});
