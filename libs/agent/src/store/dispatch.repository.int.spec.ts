import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dispatch } from '#libs/messaging';
import {
  eventually,
  finishOf,
  LEASE_MS,
  newTask,
  openStore,
  type Process,
  type Store,
} from '../agent.fixture.js';

jest.setTimeout(60_000);

let store: Store;
let here: Process;
let elsewhere: Process;
/** Each test has its own agent: relays and reconcilers look at all of an agent's tasks. */
let agentId: string;
beforeAll(async () => {
  store = await openStore();
  ({ here, elsewhere } = store);
});
afterAll(() => store.stop());
beforeEach(() => {
  agentId = `agent-${randomBytes(4).toString('hex')}`;
});

const HOLD_MS = 60_000;
const accept = async (more: Parameters<typeof newTask>[0] = {}) => {
  const task = newTask({ agentId, ...more });
  await here.tasks.accept(task);
  return task.id;
};
const makeDue = () =>
  store.sql.query(`update agents.outbox set due_at = due_at - interval '1 s' where agent_id = $1`, [agentId]);
/** Lets every dispatch of the agent look `ms` older. */
const age = (ms: number) =>
  store.sql.query(
    `update agents.tasks set dispatched_at = dispatched_at - $2 * interval '1 ms' where agent_id = $1`,
    [agentId, ms],
  );
const outbox = async () => {
  const { rows } = await store.sql.query<{ id: string; no: number }>(
    'select task_id as id, dispatch_no as no from agents.outbox where agent_id = $1 order by dispatch_no, task_id',
    [agentId],
  );
  return rows.map(({ id, no }): Dispatch => ({ taskId: id, dispatchNo: no }));
};
const relay = (by: Process, tell: (dispatches: Dispatch[]) => Promise<void>, limit = 100, holdMs = HOLD_MS) =>
  by.dispatches.relay(agentId, limit, holdMs, tell);

describe('the relay', () => {
  it('leaves a new acceptance to the one who told the queue at once, and takes it a second later', async () => {
    const id = await accept();
    const told: Dispatch[] = [];
    const tell = async (dispatches: Dispatch[]) => void told.push(...dispatches);
    expect(await relay(here, tell)).toBe(0);
    await eventually(() => relay(here, tell));
    expect(told).toEqual([{ taskId: id, dispatchNo: 1 }]);
    expect(await outbox()).toEqual([]);
  });

  it('tells each dispatch once, however many relays run', async () => {
    const ids = await Promise.all(Array.from({ length: 60 }, () => accept()));
    await makeDue();
    const told: string[] = [];
    const tell = async (dispatches: Dispatch[]) => {
      await sleep(5);
      told.push(...dispatches.map(({ taskId }) => taskId));
    };
    const empty = async (by: Process) => {
      while ((await relay(by, tell, 7)) > 0);
    };
    await Promise.all([empty(here), empty(elsewhere), empty(here), empty(elsewhere)]);
    expect(told.toSorted()).toEqual(ids.toSorted());
    expect(await outbox()).toEqual([]);
  });

  it('keeps what it could not tell, and tells it once its hold is over', async () => {
    const id = await accept();
    await makeDue();
    const away = relay(here, () => Promise.reject(new Error('Redis is away')), 100, 50);
    await expect(away).rejects.toThrow('Redis is away');
    expect(await outbox()).toEqual([{ taskId: id, dispatchNo: 1 }]);
    const told: Dispatch[] = [];
    await eventually(() => relay(elsewhere, async (dispatches) => void told.push(...dispatches)));
    expect(told).toEqual([{ taskId: id, dispatchNo: 1 }]);
  });

  it('keeps the order of what it could not tell', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 6; i += 1) ids.push(await accept());
    await makeDue();
    await expect(relay(here, () => Promise.reject(new Error('away')), 3, 50)).rejects.toThrow('away');
    await sleep(60);
    const told: string[] = [];
    const tell = async (dispatches: Dispatch[]) => void told.push(...dispatches.map(({ taskId }) => taskId));
    await eventually(async () => (await relay(elsewhere, tell)) === 0 && told.length === 6);
    expect(told).toEqual(ids);
  });

  it('takes tasks in the order of their acceptance, whatever happened to them since', async () => {
    const ids = [await accept(), await accept(), await accept(), await accept({ sessionId: 's' })];
    ids.push(await accept({ sessionId: 's' }));
    const [died, handedOver, , ended, follower] = ids as [string, string, string, string, string];
    for (const id of [handedOver, ended, died]) await here.runs.claim(id, LEASE_MS);
    await here.runs.finish(finishOf(ended, 1));
    await here.runs.release([{ id: handedOver, epoch: 1 }]);
    await store.expire(died);
    await age(LEASE_MS);
    await here.dispatches.redispatchExpired(agentId, LEASE_MS, 100);
    const told: string[] = [];
    await eventually(async () => {
      await relay(here, async ([first]) => void told.push(first!.taskId), 1);
      return told.length === 4;
    });
    expect(told).toEqual(ids.filter((id) => id !== ended));
    expect(told.at(-1)).toBe(follower);
  });

  it('keeps to its own agent', async () => {
    await accept();
    await makeDue();
    expect(await here.dispatches.relay('agent-other', 100, HOLD_MS, async () => undefined)).toBe(0);
  });
});

describe('tasks whose worker died', () => {
  const died = async () => {
    const id = await accept();
    await here.runs.claim(id, LEASE_MS);
    await store.expire(id);
    return id;
  };

  it('are dispatched anew, once over all processes', async () => {
    const ids = [await died(), await died(), await died()];
    await age(LEASE_MS);
    const again = await Promise.all(
      [here, elsewhere, here].map((by) => by.dispatches.redispatchExpired(agentId, LEASE_MS, 100)),
    );
    expect(
      again
        .flat()
        .map(({ taskId }) => taskId)
        .toSorted(),
    ).toEqual(ids.toSorted());
    expect(again.flat().every(({ dispatchNo }) => dispatchNo === 2)).toBe(true);
    expect(await outbox()).toHaveLength(3);
    expect(await here.dispatches.redispatchExpired(agentId, LEASE_MS, 100)).toEqual([]);
  });

  it('are left alone while their lease holds, and while their last dispatch is young', async () => {
    const id = await accept();
    await here.runs.claim(id, LEASE_MS);
    await age(LEASE_MS);
    expect(await here.dispatches.redispatchExpired(agentId, LEASE_MS, 100)).toEqual([]);
    await store.expire(id);
    expect(await here.dispatches.redispatchExpired(agentId, 3 * LEASE_MS, 100)).toEqual([]);
    expect(await here.dispatches.redispatchExpired(agentId, LEASE_MS, 100)).toHaveLength(1);
  });

  it('are left to the outbox while the queue is still to be told of them', async () => {
    await died();
    await age(LEASE_MS);
    expect(await here.dispatches.redispatchExpired(agentId, LEASE_MS, 100)).toHaveLength(1);
    await age(LEASE_MS);
    expect(await here.dispatches.redispatchExpired(agentId, LEASE_MS, 100)).toEqual([]);
    await makeDue();
    expect(await relay(here, async () => undefined)).toBe(1);
    expect(await here.dispatches.redispatchExpired(agentId, LEASE_MS, 100)).toHaveLength(1);
  });

  it('are taken a bounded number at once', async () => {
    for (let i = 0; i < 3; i += 1) await died();
    await age(LEASE_MS);
    expect(await here.dispatches.redispatchExpired(agentId, LEASE_MS, 2)).toHaveLength(2);
    expect(await here.dispatches.redispatchExpired(agentId, LEASE_MS, 2)).toHaveLength(1);
  });
});

describe('waiting tasks', () => {
  /** The queue was told of them `ms` ago. */
  const toldBefore = async (ms: number) => {
    await makeDue();
    await relay(here, async () => undefined);
    await age(ms);
  };
  const look = (after = '0', limit = 100) => here.dispatches.waiting(agentId, 1000, after, limit);
  const waiting = async () => (await look()).dispatches;

  it('are those that wait for long: new, claimed and ended ones are not', async () => {
    const [old, held, done] = [await accept(), await accept(), await accept()] as const;
    await here.runs.claim(held, LEASE_MS);
    await here.runs.claim(done, LEASE_MS);
    await here.runs.finish(finishOf(done, 1));
    await toldBefore(2000);
    await accept();
    expect((await waiting()).map(({ taskId }) => taskId)).toEqual([old]);
  });

  it('are not those that the queue is still to be told of', async () => {
    const told = await accept();
    await toldBefore(2000);
    await accept();
    await age(2000);
    expect((await waiting()).map(({ taskId }) => taskId)).toEqual([told]);
  });

  it('are those at the head of their session only', async () => {
    const head = await accept({ sessionId: 's' });
    await accept({ sessionId: 's' });
    await toldBefore(2000);
    expect((await waiting()).map(({ taskId }) => taskId)).toEqual([head]);
  });

  it('include tasks that were handed over', async () => {
    const id = await accept();
    await here.runs.claim(id, LEASE_MS);
    await here.runs.release([{ id, epoch: 1 }]);
    await toldBefore(2000);
    expect(await waiting()).toMatchObject([{ taskId: id, dispatchNo: 2 }]);
  });

  it('are looked for page by page, in the order of their acceptance', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) ids.push(await accept());
    await toldBefore(2000);
    const first = await look('0', 3);
    const second = await look(first.next!, 3);
    expect([...first.dispatches, ...second.dispatches].map(({ taskId }) => taskId)).toEqual(ids);
    expect(second.next).toBeNull();
  });

  it('are found behind a page of others', async () => {
    await accept({ sessionId: 's' });
    for (let i = 0; i < 3; i += 1) await accept({ sessionId: 's' });
    const free = await accept();
    await toldBefore(2000);
    const { next } = await look('0', 2);
    expect(await look(next!, 2)).toMatchObject({ dispatches: [], next: expect.any(String) as string });
    expect((await look(next!, 3)).dispatches.map(({ taskId }) => taskId)).toEqual([free]);
  });
});

describe('tasks whose job is lost', () => {
  it('are dispatched anew by one of many', async () => {
    const lost = [{ taskId: await accept(), dispatchNo: 1 }];
    const again = await Promise.all([here, elsewhere].map((by) => by.dispatches.redispatchLost(lost)));
    expect(again.flat()).toEqual([{ taskId: lost[0]!.taskId, dispatchNo: 2 }]);
  });

  it('are left alone once they were dispatched, claimed or ended since', async () => {
    const [claimed, ended, again] = [await accept(), await accept(), await accept()] as const;
    await here.runs.claim(claimed, LEASE_MS);
    await here.runs.claim(ended, LEASE_MS);
    await here.runs.finish(finishOf(ended, 1));
    await here.dispatches.redispatchLost([{ taskId: again, dispatchNo: 1 }]);
    const stale = [claimed, ended, again].map((taskId) => ({ taskId, dispatchNo: 1 }));
    expect(await here.dispatches.redispatchLost(stale)).toEqual([]);
  });
});
