import { randomBytes, randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import type { RedisConnections } from '#libs/messaging';
import { Dispatcher } from './dispatcher.js';
import type { LocalRuns } from './local-runs.js';

const REDIS_URL = process.env['TEST_REDIS_URL'];
const LONG = 1000;

let queue: Queue;
let redis: Redis;
let dispatcher: Dispatcher;
beforeAll(async () => {
  if (!REDIS_URL) throw new Error('TEST_REDIS_URL is not set');
  queue = new Queue(`test.${randomBytes(6).toString('hex')}`, { connection: { url: REDIS_URL } });
  redis = new Redis(REDIS_URL);
  await redis.ping();
  const noRoom = { offer: () => false } as unknown as LocalRuns;
  dispatcher = new Dispatcher(queue, { commands: redis } as RedisConnections, noRoom);
});
afterAll(async () => {
  await queue.obliterate({ force: true });
  await queue.close();
  redis.disconnect();
});

const dispatch = () => ({ taskId: randomUUID(), dispatchNo: 1 });
afterEach(() => jest.restoreAllMocks());
const waiting = () => queue.getWaitingCount();

it('tells a short queue at once, and leaves the rest to the relay while it is long', async () => {
  const added = jest.spyOn(dispatcher.queue, 'add');
  const looked = jest.spyOn(dispatcher.queue, 'waiting');
  const told = async () => {
    added.mockClear();
    looked.mockClear();
    dispatcher.begin(dispatch());
    // Longer than the way to the batch of additions.
    await new Promise((resolve) => setTimeout(resolve, 20));
    await Promise.all(added.mock.results.map(({ value }) => value as Promise<void>));
    await Promise.all(looked.mock.results.map(({ value }) => value as Promise<number>));
    return added.mock.calls.length;
  };
  const clock = jest.spyOn(performance, 'now').mockReturnValue(performance.now());
  expect(await told()).toBe(1);
  await dispatcher.queue.add(Array.from({ length: LONG }, dispatch));
  expect(await told()).toBe(1);
  expect(await waiting()).toBe(LONG + 2);
  expect(await told()).toBe(0);

  await queue.drain();
  clock.mockReturnValue(performance.now() + 501);
  expect(await told()).toBe(1);
  expect(await told()).toBe(1);
  expect(await waiting()).toBe(2);
});
