import { RetryableError, TerminalError } from '#libs/contracts';
import { createLogger } from '#libs/telemetry';
import { Lease, Leases, Stopped } from './lease.js';
import { heldKey, type ClaimedTask } from './store/claimed-task.js';
import type { RunRepository } from './store/run.repository.js';

const task = (more: Partial<ClaimedTask> = {}) =>
  ({ id: 't', epoch: 1, elapsedMs: 100, remainingMs: 1000, ...more }) as ClaimedTask;
const away = () => Promise.reject(new RetryableError('database-unavailable', 'away'));
const never = async () => undefined;

describe('a lease', () => {
  it('knows what is left of the deadline, never less than nothing', () => {
    expect(new Lease(task(), 0, 1000, never).remainingMs()).toBeGreaterThan(900);
    expect(new Lease(task({ remainingMs: -5 }), 0, 1000, never).remainingMs()).toBe(0);
    expect(new Lease(task(), 0, 1000, never).elapsedMs()).toBeGreaterThanOrEqual(100);
  });

  it('that was confirmed lately asks nobody before a call', async () => {
    const renew = jest.fn(never);
    await new Lease(task(), performance.now(), 60_000, renew).assertHeld();
    expect(renew).not.toHaveBeenCalled();
  });

  it('that was not confirmed for its whole time is asked for first, until there is an answer', async () => {
    let asked = 0;
    const lease: Lease = new Lease(task(), performance.now() - 60_000, 60_000, async () => {
      asked += 1;
      if (asked === 2) lease.confirmed(performance.now());
    });
    await lease.assertHeld();
    expect(asked).toBe(2);
  });

  it('that turns out to be lost allows no call', async () => {
    const lease: Lease = new Lease(task(), performance.now() - 60_000, 60_000, async () =>
      lease.stop('lease_lost'),
    );
    await expect(lease.assertHeld()).rejects.toMatchObject({ reason: 'lease_lost' });
  });

  it('aborts with its first reason', () => {
    const lease = new Lease(task(), 0, 1000, never);
    lease.stop('cancelled');
    lease.stop('deadline');
    expect((lease.signal.reason as Stopped).reason).toBe('cancelled');
  });
});

describe('a write under a lease', () => {
  const held = () => new Lease(task(), performance.now(), 60_000, never);

  it('is repeated while Postgres is away', async () => {
    let attempts = 0;
    const written = await held().persist(async () => ((attempts += 1) < 3 ? away() : 'written'));
    expect([written, attempts]).toEqual(['written', 3]);
  });

  it.each([
    ['terminal', new TerminalError('x', 'wrong')],
    ['unforeseen', new TypeError('bug')],
  ])('is not repeated after a %s error', async (_, error) => {
    const write = jest.fn(() => Promise.reject(error));
    await expect(held().persist(write)).rejects.toBe(error);
    expect(write).toHaveBeenCalledTimes(1);
  });

  it.each(['lease_lost', 'handed_over'] as const)(
    'is not begun, and not repeated, after %s',
    async (reason) => {
      const lease = held();
      const write = jest.fn(() => {
        lease.stop(reason);
        return away();
      });
      await expect(lease.persist(write)).rejects.toBeInstanceOf(Stopped);
      await expect(lease.persist(write)).rejects.toBeInstanceOf(Stopped);
      expect(write).toHaveBeenCalledTimes(1);
    },
  );

  it('is still made after a cancellation: the end has to be written', async () => {
    const lease = held();
    lease.stop('cancelled');
    expect(await lease.persist(async () => 'written')).toBe('written');
  });

  it('is not made after a cancelled task was lost as well', async () => {
    const lease = held();
    lease.stop('cancelled');
    lease.stop('lease_lost');
    await expect(lease.persist(async () => 'written')).rejects.toBeInstanceOf(Stopped);
  });
});

describe('the leases of a process', () => {
  /** Renewals answer what the test says; the timer is fast enough to be waited for. */
  function leases(renew: RunRepository['renew']) {
    const runs = { claim: async (id: string) => task({ id }), renew } as unknown as RunRepository;
    const agent = { config: { LEASE_MS: 60 } } as unknown as ConstructorParameters<typeof Leases>[0];
    return new Leases(agent, runs, createLogger('test', 'silent'));
  }
  const all =
    (cancelRequested = false): RunRepository['renew'] =>
    async (held) =>
      new Map(held.map((lease) => [heldKey(lease), { cancelRequested }]));
  const stopped = (lease: Lease) =>
    new Promise<string>((resolve) =>
      lease.signal.addEventListener('abort', () => resolve((lease.signal.reason as Stopped).reason)),
    );

  it('are renewed together, and kept while they are', async () => {
    const renewals: string[][] = [];
    const own = leases(async (held, ms) => {
      renewals.push(held.map(({ id }) => id));
      return all()(held, ms);
    });
    const [a, b] = [await own.claim('a'), await own.claim('b')];
    while (renewals.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    own.onApplicationShutdown();
    expect(renewals[1]).toEqual(['a', 'b']);
    expect([a!.signal.aborted, b!.signal.aborted]).toEqual([false, false]);
  });

  it('stop what another worker has taken over, and nothing else', async () => {
    const own = leases(
      async () => new Map([[heldKey({ id: 'kept', epoch: 1 }), { cancelRequested: false }]]),
    );
    const [kept, lost] = [await own.claim('kept'), await own.claim('lost')];
    expect(await stopped(lost!)).toBe('lease_lost');
    own.onApplicationShutdown();
    expect(kept!.signal.aborted).toBe(false);
  });

  it('learn of cancellations with their renewal, or by word', async () => {
    const own = leases(all(true));
    expect(await stopped((await own.claim('flagged'))!)).toBe('cancelled');
    own.onApplicationShutdown();
    const told = leases(all());
    const [a, b] = [await told.claim('a'), await told.claim('b')];
    told.cancel('a');
    told.onApplicationShutdown();
    expect([a!.signal.aborted, b!.signal.aborted]).toEqual([true, false]);
  });

  it('survive a Postgres that is away', async () => {
    let attempts = 0;
    const own = leases(async (held, ms) => ((attempts += 1) < 3 ? away() : all()(held, ms)));
    const lease = await own.claim('a');
    while (attempts < 4) await new Promise((resolve) => setTimeout(resolve, 5));
    own.onApplicationShutdown();
    expect(lease!.signal.aborted).toBe(false);
  });

  it('are all stopped and named for the hand-over', async () => {
    const own = leases(all());
    const [lease, done] = [await own.claim('a'), await own.claim('b')];
    own.drop(done!);
    expect(own.stopAll()).toEqual([{ id: 'a', epoch: 1 }]);
    own.onApplicationShutdown();
    expect((lease!.signal.reason as Stopped).reason).toBe('handed_over');
    expect((done!.signal.reason as Stopped).reason).toBe('lease_lost');
  });

  it('of one task exclude each other, also in one process', async () => {
    const own = leases(all());
    const [former, current] = [await own.claim('a'), await own.claim('a')];
    own.onApplicationShutdown();
    expect((former!.signal.reason as Stopped).reason).toBe('lease_lost');
    expect(current!.signal.aborted).toBe(false);
  });
});
