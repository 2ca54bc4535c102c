import type { Agent } from './agent.js';
import { LocalRuns } from './local-runs.js';

const localRuns = (limit: number) => new LocalRuns({ config: { LOCAL_RUNS: limit } } as Agent);

/** Runs that end when the test says so. */
function gatedRuns() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const begin = (taskId: string) => {
    begun.push(taskId);
    return new Promise<void>((resolve) => ends.set(taskId, resolve));
  };
  return { begun, begin, end: (taskId: string) => ends.get(taskId)!() };
}

describe('runs in the process that accepted them', () => {
  it('begin up to the limit; more goes to the queue until one has ended', async () => {
    const { begun, begin, end } = gatedRuns();
    const local = localRuns(2);
    local.open(begin);
    expect(['a', 'b', 'c'].map((id) => local.offer(id))).toEqual([true, true, false]);
    end('a');
    await new Promise(setImmediate);
    expect(local.offer('d')).toBe(true);
    expect(begun).toEqual(['a', 'b', 'd']);
  });

  it('are refused before there is a worker, without room, and after the drain began', () => {
    const { begun, begin } = gatedRuns();
    expect(localRuns(2).offer('a')).toBe(false);
    const none = localRuns(0);
    none.open(begin);
    expect(none.offer('a')).toBe(false);
    const drained = localRuns(2);
    drained.open(begin);
    drained.close();
    expect(drained.offer('a')).toBe(false);
    expect(begun).toEqual([]);
  });

  it('are waited for', async () => {
    const { begin, end } = gatedRuns();
    const local = localRuns(2);
    local.open(begin);
    local.offer('a');
    local.close();
    let ended = false;
    const waiting = local.ended().then(() => (ended = true));
    await new Promise(setImmediate);
    expect(ended).toBe(false);
    end('a');
    await waiting;
    expect(ended).toBe(true);
  });
});
