import { randomBytes } from 'node:crypto';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import type { RedisConnections } from '#libs/messaging';
import { pino } from 'pino';
import type { Agent } from './agent.js';
import { eventually, newTask, openStore, type Store } from './agent.fixture.js';
import { Dispatcher } from './dispatcher.js';
import type { LocalRuns } from './local-runs.js';
import { Reconciler } from './reconciler.js';

jest.setTimeout(60_000);

const LONG = 1000;
const RECONCILE_MS = 20;

let store: Store;
let redis: Redis;
beforeAll(async () => {
  store = await openStore();
  redis = new Redis(store.redisUrl);
  await redis.ping();
});
afterEach(() => jest.restoreAllMocks());
afterAll(async () => {
  redis.disconnect();
  await store.stop();
});

let agentId: string;
let queue: Queue;
let reconciler: Reconciler;
/** How often it swept. */
let sweeps: jest.SpyInstance;
beforeEach(() => {
  agentId = `agent-${randomBytes(4).toString('hex')}`;
  queue = new Queue(`test.${agentId}`, { connection: { url: store.redisUrl } });
});
const reconcile = (everyMs = RECONCILE_MS) => {
  const noRoom = { offer: () => false } as unknown as LocalRuns;
  const dispatcher = new Dispatcher(queue, { commands: redis } as RedisConnections, noRoom);
  const config = { RECONCILE_MS: everyMs, LEASE_MS: 1000, LOST_AFTER_MS: 0, RETENTION_DAYS: 30 };
  const agent = { definition: { id: agentId }, config } as Agent;
  const { dispatches, tasks } = store.here;
  sweeps = jest.spyOn(dispatches, 'redispatchExpired');
  reconciler = new Reconciler(agent, dispatches, tasks, dispatcher, pino({ level: 'silent' }));
  reconciler.onApplicationBootstrap();
};
afterEach(async () => {
  await reconciler.beforeApplicationShutdown();
  await queue.obliterate({ force: true });
  await queue.close();
});

const accept = async (count: number) => {
  const tasks = Array.from({ length: count }, () => newTask({ agentId }));
  for (const task of tasks) await store.here.tasks.accept(task);
  return tasks.map(({ id }) => id);
};
const makeDue = () =>
  store.sql.query(`update agents.outbox set due_at = due_at - interval '1 s' where agent_id = $1`, [agentId]);
const inOutbox = async () => {
  const { rows } = await store.sql.query('select 1 from agents.outbox where agent_id = $1', [agentId]);
  return rows.length;
};
const dispatchedAgain = async () => {
  const { rows } = await store.sql.query(
    'select 1 from agents.tasks where agent_id = $1 and dispatch_no > 1',
    [agentId],
  );
  return rows.length;
};
const inQueue = async () => (await queue.getWaiting()).map(({ data }) => (data as { taskId: string }).taskId);
const fill = (count: number) =>
  queue.addBulk(Array.from({ length: count }, () => ({ name: 'run', data: { taskId: 'another' } })));

it('keeps what comes behind a long queue in the outbox, and tells it in its order when the queue is shorter', async () => {
  await fill(LONG);
  const looked = jest.spyOn(redis, 'llen');
  const ids = await accept(7);
  await makeDue();
  reconcile();
  await eventually(() => looked.mock.calls.length >= 5);
  expect(await inOutbox()).toBe(7);
  expect(await queue.getWaitingCount()).toBe(LONG);
  // In the outbox they are not lost.
  expect(await dispatchedAgain()).toBe(0);

  await queue.drain();
  await eventually(async () => (await inOutbox()) === 0);
  expect(await inQueue()).toEqual(ids);
  expect(await dispatchedAgain()).toBe(0);
});

it('tells a short queue all that is due, batch after batch', async () => {
  await fill(LONG - 1);
  const ids = await accept(3);
  await makeDue();
  reconcile();
  await eventually(async () => (await inOutbox()) === 0);
  expect((await inQueue()).slice(LONG - 1)).toEqual(ids);
});

it('dispatches anew what was in a queue that is gone, also while others wait in the outbox', async () => {
  const lost = await accept(3);
  await makeDue();
  reconcile();
  await eventually(async () => (await inQueue()).length === 3);
  await eventually(async () => (await inOutbox()) === 0);
  await fill(LONG);
  const looked = jest.spyOn(redis, 'llen');
  await eventually(() => looked.mock.calls.length >= 2);
  const behind = await accept(2);
  await makeDue();
  await queue.obliterate({ force: true });
  await eventually(async () => (await inQueue()).length === 5);
  expect((await inQueue()).toSorted()).toEqual([...lost, ...behind].toSorted());
  expect(await dispatchedAgain()).toBe(3);
});

it('fills a queue that was long up between two sweeps, also with what becomes due only then', async () => {
  await fill(LONG);
  const old = await accept(3);
  await makeDue();
  reconcile(4000);
  await eventually(() => sweeps.mock.calls.length === 1);
  const young = await accept(2);
  await queue.drain();
  await eventually(async () => (await inOutbox()) === 0);
  expect(await inQueue()).toEqual([...old, ...young]);
  expect(sweeps).toHaveBeenCalledTimes(1);
});
