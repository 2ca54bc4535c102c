import {
  entryOf,
  eventually,
  finishOf,
  LEASE_MS,
  newTask,
  openStore,
  type Process,
  type Store,
} from '../agent.fixture.js';
import { reply, results } from '../loop/journal.fixture.js';
import { replay } from '../loop/state.js';
import { storable } from '../loop/storable.js';
import { heldKey, type ClaimedTask } from './claimed-task.js';

jest.setTimeout(60_000);

let store: Store;
let here: Process;
let elsewhere: Process;
beforeAll(async () => {
  store = await openStore();
  ({ here, elsewhere } = store);
});
afterAll(() => store.stop());

const accepted = async (more?: Parameters<typeof newTask>[0]) => {
  const task = newTask(more);
  await here.tasks.accept(task);
  return task.id;
};
const claimed = async (id: string, by = here): Promise<ClaimedTask> => {
  const task = await by.runs.claim(id, LEASE_MS);
  if (!task) throw new Error(`${id} was not to be had`);
  return task;
};
const FENCED = { fenced: true };
const WRITTEN = { fenced: false };

describe('a claim', () => {
  it('is exclusive among fifty at once, from two processes', async () => {
    const id = await accepted();
    const claims = await Promise.all(
      Array.from({ length: 50 }, (_, i) => (i % 2 ? here : elsewhere).runs.claim(id, LEASE_MS)),
    );
    expect(claims.filter(Boolean)).toHaveLength(1);
    expect(claims.find(Boolean)).toMatchObject({
      id,
      epoch: 1,
      resumed: false,
      crashes: 0,
      tenant: 'acme',
      userId: 'ada',
    });
  });

  it('is refused while the lease holds and granted once it ran out, with a higher epoch', async () => {
    const id = await accepted();
    await claimed(id);
    expect(await elsewhere.runs.claim(id, LEASE_MS)).toBeNull();
    await store.expire(id);
    expect(await claimed(id, elsewhere)).toMatchObject({ epoch: 2, resumed: true });
  });

  it('is refused for an ended and for an unknown task', async () => {
    const id = await accepted();
    await claimed(id);
    await here.runs.finish(finishOf(id, 1));
    expect(await here.runs.claim(id, LEASE_MS)).toBeNull();
    expect(await here.runs.claim(newTask().id, LEASE_MS)).toBeNull();
  });

  it('lasts as long as it was asked for', async () => {
    const id = await accepted();
    await here.runs.claim(id, 300);
    expect(await elsewhere.runs.claim(id, 300)).toBeNull();
    expect(await eventually(() => elsewhere.runs.claim(id, 300))).toMatchObject({ epoch: 2 });
  });

  it("knows the age and the deadline by the database's clock", async () => {
    const { elapsedMs, remainingMs } = await claimed(await accepted({ timeoutMs: 60_000 }));
    expect(elapsedMs).toBeGreaterThanOrEqual(0);
    expect(remainingMs).toBeGreaterThan(30_000);
    expect(remainingMs).toBeLessThanOrEqual(60_000);
  });

  it('takes the dispatch that nobody needs to tell any more', async () => {
    const id = await accepted();
    const outbox = () => store.sql.query('select 1 from agents.outbox where task_id = $1', [id]);
    expect((await outbox()).rowCount).toBe(1);
    await claimed(id);
    expect((await outbox()).rowCount).toBe(0);
  });
});

describe('a write under a lease', () => {
  /** A task that a second worker took over. `old` is what the first one still believes. */
  const takenOver = async () => {
    const id = await accepted();
    const old = await claimed(id);
    await store.expire(id);
    return { id, old: old.epoch, current: (await claimed(id, elsewhere)).epoch };
  };

  it('with an old epoch appends nothing; with the current one the same entry is accepted', async () => {
    const { id, old, current } = await takenOver();
    expect(await here.runs.append(entryOf(id, old, 1))).toEqual(FENCED);
    expect(await here.runs.entries(id)).toEqual([]);
    expect(await here.runs.append(entryOf(id, current, 1))).toMatchObject(WRITTEN);
    expect(await here.runs.entries(id)).toHaveLength(1);
  });

  it('with an old epoch ends nothing; with the current one the same end is accepted', async () => {
    const { id, old, current } = await takenOver();
    expect(await here.runs.finish(finishOf(id, old))).toEqual(FENCED);
    expect(await here.tasks.require(id, store.scope)).toMatchObject({ status: 'running', output: null });
    expect(await here.runs.finish(finishOf(id, current))).toMatchObject(WRITTEN);
    expect(await here.tasks.require(id, store.scope)).toMatchObject({ status: 'completed', output: 'done' });
  });

  it('with an old epoch renews nothing; with the current one it does', async () => {
    const { id, old, current } = await takenOver();
    expect(await here.runs.renew([{ id, epoch: old }], LEASE_MS)).toEqual(new Map());
    const renewed = await here.runs.renew([{ id, epoch: current }], LEASE_MS);
    expect(renewed.get(heldKey({ id, epoch: current }))).toEqual({ cancelRequested: false });
  });

  it('tells two epochs of one task apart in one batch', async () => {
    const { id, old, current } = await takenOver();
    const held = [old, current].map((epoch) => ({ id, epoch }));
    expect([...(await here.runs.renew(held, LEASE_MS)).keys()]).toEqual([heldKey(held[1]!)]);
    const [stale, fresh] = await Promise.all(
      held.map(({ epoch }) => here.runs.append(entryOf(id, epoch, 1))),
    );
    expect(stale).toEqual({ fenced: true });
    expect(fresh).toMatchObject({ fenced: false });
  });

  it('that was handed over is not renewed', async () => {
    const { id, current } = await takenOver();
    await here.runs.release([{ id, epoch: current }]);
    expect(await here.runs.renew([{ id, epoch: current }], LEASE_MS)).toEqual(new Map());
  });

  it('with an old epoch hands nothing over; with the current one it does', async () => {
    const { id, old, current } = await takenOver();
    expect(await here.runs.release([{ id, epoch: old }])).toEqual([]);
    expect(await here.runs.release([{ id, epoch: current }])).toEqual([{ taskId: id, dispatchNo: 2 }]);
  });

  it('of many tasks at once fences each by its own lease', async () => {
    const good = await Promise.all(Array.from({ length: 20 }, () => accepted()));
    await Promise.all(good.map((id) => claimed(id)));
    const { id: bad, old } = await takenOver();
    const answers = await Promise.all([
      ...good.map((id) => here.runs.append(entryOf(id, 1, 1))),
      here.runs.append(entryOf(bad, old, 1)),
    ]);
    expect(answers.map(({ fenced }) => fenced)).toEqual([...good.map(() => false), true]);
    const ends = await Promise.all([
      ...good.map((id) => here.runs.finish(finishOf(id, 1, 2))),
      here.runs.finish(finishOf(bad, old)),
    ]);
    expect(ends.map(({ fenced }) => fenced)).toEqual([...good.map(() => false), true]);
  });

  it('is accepted past its lease while nobody else took the task', async () => {
    const id = await accepted();
    await claimed(id);
    await store.expire(id);
    expect(await here.runs.append(entryOf(id, 1, 1))).toMatchObject(WRITTEN);
  });

  it('repeated after its answer was lost counts once', async () => {
    const id = await accepted();
    await claimed(id);
    const first = await here.runs.append(entryOf(id, 1, 1));
    expect(await here.runs.append(entryOf(id, 1, 1))).toEqual(first);
    expect(await elsewhere.runs.append(entryOf(id, 1, 1))).toEqual(first);
    expect(await here.runs.entries(id)).toHaveLength(1);
    const end = await here.runs.finish(finishOf(id, 1, 2));
    expect(await here.runs.finish(finishOf(id, 1, 2))).toEqual(end);
    expect((await here.runs.entries(id)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  it('does not take the place of an entry that an earlier epoch wrote', async () => {
    const id = await accepted();
    await claimed(id);
    await here.runs.append(entryOf(id, 1, 1));
    await store.expire(id);
    await claimed(id);
    expect(await here.runs.append({ ...entryOf(id, 2, 1), body: reply({ content: 'other' }) })).toEqual(
      FENCED,
    );
    expect((await here.runs.entries(id)).map(({ body }) => body)).toMatchObject([{ content: 'entry 1' }]);
  });

  it('after the end is refused', async () => {
    const id = await accepted();
    await claimed(id);
    await here.runs.finish(finishOf(id, 1));
    expect(await here.runs.append(entryOf(id, 1, 3))).toEqual(FENCED);
  });

  it('learns of the cancel flag', async () => {
    const id = await accepted();
    await claimed(id);
    expect(await elsewhere.tasks.requestCancel(id)).toEqual({ held: true });
    expect(await here.runs.append(entryOf(id, 1, 1))).toMatchObject({ cancelRequested: true });
    const renewed = await here.runs.renew([{ id, epoch: 1 }], LEASE_MS);
    expect(renewed.get(heldKey({ id, epoch: 1 }))).toEqual({ cancelRequested: true });
  });
});

describe('text that Postgres cannot hold', () => {
  const odd = 'a\0b \ud83d';
  const asking = reply({ content: odd, tool_calls: [{ id: odd, name: odd, arguments: odd }] });
  const answers = results(asking, () => ({ ok: true, result: { [odd]: odd } }));

  it.each([[asking], [answers]])('is refused as it is (%#)', async (body) => {
    const id = await accepted();
    await claimed(id);
    await expect(here.runs.append({ taskId: id, epoch: 1, seq: 1, body })).rejects.toThrow(/json|escape/i);
  });

  it('is written, read, counted and ended once it was made storable', async () => {
    const id = await accepted();
    await claimed(id);
    for (const [i, body] of [asking, answers].entries())
      expect(
        await here.runs.append({ taskId: id, epoch: 1, seq: i + 1, body: storable(body) }),
      ).toMatchObject(WRITTEN);
    expect((await here.runs.entries(id)).map(({ body }) => body)).toEqual([
      storable(asking),
      storable(answers),
    ]);
    expect(await here.tasks.require(id, store.scope)).toMatchObject({ steps_used: 1, tool_calls: 1 });
    const end = { ...finishOf(id, 1, 3), output: storable(odd), detail: storable(odd) };
    expect(await here.runs.finish(end)).toMatchObject(WRITTEN);
  });
});

describe('the journal', () => {
  it('replays as it was written, whatever its text', async () => {
    const id = await accepted();
    await claimed(id);
    const odd = 'quote " backslash \\ newline \n emoji 😀 漢 \u2028 ';
    const asking = reply({
      content: odd,
      tool_calls: [{ id: '', name: 'lookup', arguments: `{"q":${JSON.stringify(odd)}}` }],
    });
    const answers = results(asking, () => ({ ok: true, result: { __proto__x: odd, deep: [[[odd]]] } }));
    await here.runs.append({ taskId: id, epoch: 1, seq: 1, body: asking });
    await here.runs.append({ taskId: id, epoch: 1, seq: 2, body: answers });
    const bodies = (await elsewhere.runs.entries(id)).map(({ body }) => body);
    expect(bodies).toEqual([asking, answers]);
    expect(replay(bodies).toolCalls).toBe(1);
  });

  it('gives the entries after a place', async () => {
    const id = await accepted();
    await claimed(id);
    for (const seq of [1, 2, 3]) await here.runs.append(entryOf(id, 1, seq));
    expect((await here.runs.entries(id, 1)).map(({ seq }) => seq)).toEqual([2, 3]);
    expect(await here.runs.entries(id, 3)).toEqual([]);
  });
});

describe('tasks of one session', () => {
  const session = async (length: number) => {
    const sessionId = `session-${Math.random().toString(36).slice(2)}`;
    const ids: string[] = [];
    for (let i = 0; i < length; i += 1) ids.push(await accepted({ sessionId }));
    return ids;
  };

  it('are claimable in order only, each once its predecessor ended', async () => {
    const [first, second, third] = (await session(3)) as [string, string, string];
    expect(await here.runs.claim(second, LEASE_MS)).toBeNull();
    await claimed(first);
    expect(await elsewhere.runs.claim(second, LEASE_MS)).toBeNull();
    expect(await here.runs.finish(finishOf(first, 1))).toMatchObject({
      next: { taskId: second, dispatchNo: 2 },
    });
    expect(await elsewhere.runs.claim(third, LEASE_MS)).toBeNull();
    await claimed(second, elsewhere);
    expect(await elsewhere.runs.finish(finishOf(second, 1))).toMatchObject({ next: { taskId: third } });
    await claimed(third);
    expect(await here.runs.finish(finishOf(third, 1))).toMatchObject({ next: null });
  });

  it('wait behind a task that was handed over', async () => {
    const [first, second] = (await session(2)) as [string, string];
    await claimed(first);
    await here.runs.release([{ id: first, epoch: 1 }]);
    expect(await elsewhere.runs.claim(second, LEASE_MS)).toBeNull();
    await claimed(first);
  });

  it('go on after one was cancelled while it waited', async () => {
    const [first, second] = (await session(2)) as [string, string];
    expect(await here.runs.finishUnheld(finishOf(first, 0))).toMatchObject({ next: { taskId: second } });
    await claimed(second);
  });

  it('never run at once, however many are accepted, claimed and ended together', async () => {
    const sessionId = 'crowded';
    const ids = await Promise.all(
      Array.from({ length: 24 }, (_, i) => {
        const task = newTask({ sessionId });
        return (i % 2 ? here : elsewhere).tasks.accept(task).then(({ id }) => id);
      }),
    );
    const order: string[] = [];
    let most = 0;
    const work = async (by: Process) => {
      while (order.length < ids.length) {
        const claims = await Promise.all(ids.map((id) => by.runs.claim(id, 30_000).catch(() => null)));
        for (const task of claims.filter((one) => one !== null)) {
          const { rows } = await store.sql.query<{ n: number }>(
            `select count(*)::int as n from agents.tasks where session_id = $1 and status = 'running'`,
            [sessionId],
          );
          most = Math.max(most, rows[0]!.n);
          order.push(task.id);
          await by.runs.finish(finishOf(task.id, task.epoch));
        }
      }
    };
    await Promise.all([work(here), work(elsewhere), work(here)]);
    expect(most).toBe(1);
    const { rows } = await store.sql.query<{ id: string }>(
      'select id from agents.tasks where session_id = $1 order by accepted_no',
      [sessionId],
    );
    expect(order).toEqual(rows.map(({ id }) => id));
  });

  it('of another tenant do not wait for them', async () => {
    await claimed(await accepted({ sessionId: 'same' }));
    const other = await claimed(await accepted({ sessionId: 'same', tenant: 'other' }));
    expect(other).toMatchObject({ epoch: 1, tenant: 'other' });
  });
});

describe('crashes', () => {
  const crash = async (id: string) => {
    await claimed(id);
    await store.expire(id);
  };

  it('are counted when leases run out in a row', async () => {
    const id = await accepted();
    await crash(id);
    await crash(id);
    expect((await claimed(id)).crashes).toBe(2);
  });

  it('are not counted for tasks that were handed over', async () => {
    const id = await accepted();
    await crash(id);
    const { epoch, crashes } = await claimed(id);
    expect(crashes).toBe(1);
    await here.runs.release([{ id, epoch }]);
    expect((await claimed(id)).crashes).toBe(1);
  });

  it('begin anew after progress', async () => {
    const id = await accepted();
    await crash(id);
    await crash(id);
    const { epoch } = await claimed(id);
    await here.runs.append(entryOf(id, epoch, 1));
    await store.expire(id);
    expect((await claimed(id)).crashes).toBe(1);
    await store.expire(id);
    expect((await claimed(id)).crashes).toBe(2);
  });
});

describe('a task that no live worker has', () => {
  it('can be ended without a lease, and that fences whoever still believes in one', async () => {
    const id = await accepted();
    await claimed(id);
    expect(await here.runs.unheld(id)).toBeNull();
    expect(await here.runs.finishUnheld(finishOf(id, 1))).toEqual(FENCED);
    await store.expire(id);
    expect(await here.runs.unheld(id)).toMatchObject({ epoch: 1 });
    expect(await here.runs.finishUnheld(finishOf(id, 1))).toMatchObject(WRITTEN);
    expect(await here.runs.append(entryOf(id, 1, 3))).toEqual(FENCED);
    expect(await here.runs.finish(finishOf(id, 1))).toEqual(FENCED);
    expect(await here.runs.unheld(id)).toBeNull();
  });

  it('is not ended with what another worker has added since', async () => {
    const id = await accepted();
    const seen = await here.runs.unheld(id);
    await claimed(id, elsewhere);
    await elsewhere.runs.release([{ id, epoch: 1 }]);
    expect(await here.runs.finishUnheld(finishOf(id, seen!.epoch))).toEqual(FENCED);
  });
});
