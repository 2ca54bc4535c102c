import { Redis } from 'ioredis';
import type { JournalEntry } from '#libs/contracts';
import {
  entryOf,
  eventually,
  finishOf,
  LEASE_MS,
  newTask,
  openStore,
  type Process,
  type Store,
} from './agent.fixture.js';

jest.setTimeout(60_000);

let store: Store;
let here: Process;
let elsewhere: Process;
beforeAll(async () => {
  store = await openStore();
  ({ here, elsewhere } = store);
});
afterAll(() => store.stop());

const running = async () => {
  const task = newTask();
  await here.tasks.accept(task);
  await here.runs.claim(task.id, LEASE_MS);
  return task.id;
};

/** Writes entry `seq`, with or without a word to the watchers. */
async function write(id: string, seq: number, announced: boolean): Promise<void> {
  const entry = entryOf(id, 1, seq);
  const written = await here.runs.append(entry);
  if (announced)
    here.feed.announce(id, { entry: { seq, at: (written as { at: string }).at, body: entry.body } });
}

async function end(id: string, seq: number, announced: boolean): Promise<void> {
  const finish = finishOf(id, 1, seq);
  await here.runs.finish(finish);
  if (announced) for (const entry of finish.entries) here.feed.announce(id, { entry: { ...entry, at: '' } });
}

/** Watches in the other process until the end; `seen` grows as items come. */
function watch(id: string, after = 0, ended = false) {
  const seen: number[] = [];
  const deltas: string[] = [];
  const stop = new AbortController();
  const done = (async () => {
    for await (const item of elsewhere.feed.watch(id, after, ended, stop.signal)) {
      if ('delta' in item) deltas.push(item.delta.text);
      else seen.push((item.entry satisfies JournalEntry).seq);
    }
  })();
  return { seen, deltas, done, stop: () => stop.abort() };
}

const upTo = (last: number, after = 0) => Array.from({ length: last - after }, (_, i) => after + 1 + i);

describe('a watcher', () => {
  it('of an ended task gets its journal from any place and no more', async () => {
    const id = await running();
    for (const seq of [1, 2, 3]) await write(id, seq, true);
    await end(id, 4, true);
    for (let after = 0; after <= 5; after += 1) {
      const watcher = watch(id, after, true);
      await watcher.done;
      expect(watcher.seen).toEqual(after < 5 ? upTo(5, after) : [5]);
    }
  });

  it.each([true, false])('learns the end from beyond it (ended before: %s)', async (before) => {
    const id = await running();
    await write(id, 1, true);
    if (before) await end(id, 2, true);
    const watcher = watch(id, 1000, before);
    if (!before) await end(id, 2, true);
    await watcher.done;
    expect(watcher.seen).toEqual([3]);
  });

  it('costs no look at the whole journal when the end alone comes again', async () => {
    const id = await running();
    for (const seq of [1, 2, 3]) await write(id, seq, false);
    await end(id, 4, false);
    const entries = jest.spyOn(elsewhere.runs, 'entries');
    const watcher = watch(id, 5, true);
    await watcher.done;
    const read = (await Promise.all(entries.mock.results.map(({ value }) => value))).flat();
    entries.mockRestore();
    expect([watcher.seen, read]).toEqual([[5], []]);
  });

  it('sees no entry twice of a task that somebody ended without its terminal entry', async () => {
    const id = await running();
    await write(id, 1, true);
    await store.sql.query(`update agents.tasks set status = 'completed', finished_at = now() where id = $1`, [
      id,
    ]);
    const watcher = watch(id, 0, true);
    await watcher.done;
    expect(watcher.seen).toEqual([1]);
  });

  it.each([
    ['all are announced', () => true],
    ['every third one is lost', (seq: number) => seq % 3 > 0],
    ['none is announced', () => false],
  ])(
    'gets every entry once and in order while they are written and %s, from any place',
    async (_, announced) => {
      const id = await running();
      for (let seq = 1; seq <= 5; seq += 1) await write(id, seq, announced(seq));
      const watchers = upTo(5, -1).map((after) => ({ after, ...watch(id, after) }));
      for (let seq = 6; seq <= 40; seq += 1) {
        await write(id, seq, announced(seq));
        if (seq % 10 === 0) watchers.push({ after: seq, ...watch(id, seq) });
      }
      await end(id, 41, announced(41));
      for (const { after, seen, done } of watchers) {
        await done;
        expect(seen).toEqual(upTo(42, after));
      }
    },
  );

  it('is not disturbed by what is announced twice, late or early', async () => {
    const id = await running();
    const watcher = watch(id);
    await write(id, 1, true);
    await eventually(() => watcher.seen.length === 1);
    await write(id, 2, false);
    const entries = await here.runs.entries(id);
    // The second before it was heard of, the first again.
    for (const entry of [entries[1]!, entries[0]!, entries[1]!]) here.feed.announce(id, { entry });
    await write(id, 3, true);
    await end(id, 4, true);
    await watcher.done;
    expect(watcher.seen).toEqual(upTo(5));
  });

  it('goes on after its subscription was cut', async () => {
    const id = await running();
    const watcher = watch(id);
    await write(id, 1, true);
    await eventually(() => watcher.seen.length === 1);
    const redis = new Redis(store.redisUrl);
    try {
      await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    } finally {
      redis.disconnect();
    }
    await write(id, 2, true);
    await end(id, 3, true);
    await watcher.done;
    expect(watcher.seen).toEqual(upTo(4));
  });

  it('who reads slowly loses deltas, no entry', async () => {
    const id = await running();
    await write(id, 1, false);
    const seen: number[] = [];
    for await (const item of elsewhere.feed.watch(id, 0, false, new AbortController().signal)) {
      if ('delta' in item) continue;
      seen.push(item.entry.seq);
      if (item.entry.seq > 1) continue;
      // Nothing is read while hundreds of items come.
      for (let i = 0; i < 400; i += 1) here.feed.announce(id, { delta: { kind: 'delta', text: 'x' } });
      for (let seq = 2; seq <= 20; seq += 1) await write(id, seq, true);
      await end(id, 21, true);
    }
    expect(seen).toEqual(upTo(22));
  });

  it('gets deltas as they come, and none of another task', async () => {
    const [id, other] = [await running(), await running()] as const;
    const watcher = watch(id);
    await write(id, 1, true);
    await eventually(() => watcher.seen.length === 1);
    here.feed.announce(other, { delta: { kind: 'delta', text: 'not yours' } });
    here.feed.announce(id, { delta: { kind: 'delta', text: 'Hel' } });
    here.feed.announce(id, { delta: { kind: 'delta', text: 'lo' } });
    await eventually(() => watcher.deltas.length === 2);
    await end(id, 2, true);
    await watcher.done;
    expect(watcher.deltas).toEqual(['Hel', 'lo']);
  });

  it('who leaves is done', async () => {
    const watcher = watch(await running());
    watcher.stop();
    await watcher.done;
    expect(watcher.seen).toEqual([]);
  });
});

describe('waiting for the end', () => {
  it('of an ended task takes no time', async () => {
    const id = await running();
    await end(id, 1, false);
    expect(await elsewhere.feed.waitForEnd(id, 60_000)).toBe(true);
  });

  it.each([
    ['announced', true],
    ['not announced', false],
  ])('of a task whose end is %s', async (_, announced) => {
    const id = await running();
    const waiters = Array.from({ length: 5 }, () => elsewhere.feed.waitForEnd(id, 60_000));
    await end(id, 1, announced);
    expect(await Promise.all(waiters)).toEqual([true, true, true, true, true]);
  });

  it('is told by Redis alone where the task runs elsewhere, without a word of its entries', async () => {
    // The first waiter of a process subscribes for all.
    expect(await elsewhere.feed.waitForEnd(await running(), 1)).toBe(false);
    const redis = new Redis(store.redisUrl);
    const polled = jest.spyOn(elsewhere.tasks, 'ended').mockResolvedValue([]);
    try {
      const ids = [await running(), await running()];
      const waiters = ids.map((id) => elsewhere.feed.waitForEnd(id, 60_000, undefined, true));
      expect(await redis.pubsub('NUMSUB', ...ids.map((id) => `baton:task:${id}`))).toEqual(
        ids.flatMap((id) => [`baton:task:${id}`, 0]),
      );
      await write(ids[0]!, 1, true);
      for (const [i, id] of ids.entries()) await end(id, 2 - i, true);
      expect(await Promise.all(waiters)).toEqual([true, true]);
    } finally {
      polled.mockRestore();
      redis.disconnect();
    }
  });

  it('gives up in time, and when nobody waits any more', async () => {
    const id = await running();
    expect(await elsewhere.feed.waitForEnd(id, 50)).toBe(false);
    const gone = new AbortController();
    const waiting = elsewhere.feed.waitForEnd(id, 60_000, gone.signal);
    gone.abort();
    expect(await waiting).toBe(false);
    expect(await elsewhere.feed.waitForEnd(id, 60_000, AbortSignal.abort())).toBe(false);
  });
});
