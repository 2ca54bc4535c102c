import { randomBytes, randomUUID } from 'node:crypto';
import { Queue, Worker, type Job } from 'bullmq';
import { Redis } from 'ioredis';
import { WorkQueue } from './work-queue.js';

jest.setTimeout(30_000);

const REDIS_URL = process.env['TEST_REDIS_URL'];
const name = `test.${randomBytes(6).toString('hex')}`;
let queue: Queue;
let redis: Redis;
let work: WorkQueue;

beforeAll(async () => {
  if (!REDIS_URL) throw new Error('TEST_REDIS_URL is not set');
  queue = new Queue(name, { connection: { url: REDIS_URL } });
  redis = new Redis(REDIS_URL);
  await redis.ping();
  work = new WorkQueue(queue, redis);
});
afterAll(async () => {
  await queue.obliterate({ force: true });
  await queue.close();
  redis.disconnect();
});
afterEach(() => queue.drain());

const dispatches = (count: number, dispatchNo = 1) =>
  Array.from({ length: count }, () => ({ taskId: randomUUID(), dispatchNo }));

describe('the work queue', () => {
  it('holds one job per dispatch, however often it is told', async () => {
    const told = dispatches(3);
    await Promise.all([work.add(told), work.add(told), work.add(told)]);
    expect(await queue.getWaitingCount()).toBe(3);
    expect(await work.waiting()).toBe(3);
    expect(await work.missing(told)).toEqual([]);
  });

  it('holds another job for another dispatch of the same task', async () => {
    const [first] = dispatches(1);
    await work.add([first!]);
    await work.add([{ ...first!, dispatchNo: 2 }]);
    expect(await queue.getWaitingCount()).toBe(2);
  });

  it('names the dispatches that have no job, also after Redis lost everything', async () => {
    const [known, unknown] = [dispatches(2), dispatches(2)];
    await work.add(known);
    expect(await work.missing([...known, ...unknown])).toEqual(unknown);
    await queue.drain();
    expect(await work.missing(known)).toEqual(known);
  });

  it.each([
    ['was done', false],
    ['failed', true],
  ])('forgets a job that %s, so that nothing of it stays in Redis', async (_, fails) => {
    const told = dispatches(1);
    await work.add(told);
    const seen: unknown[] = [];
    const process = async (job: Job) => {
      seen.push(job.data);
      if (fails) throw new Error('failed');
    };
    const worker = new Worker(name, process, { connection: { url: REDIS_URL! } });
    try {
      for (let i = 0; i < 400 && (await work.missing(told)).length === 0; i += 1)
        await new Promise((resolve) => setTimeout(resolve, 25));
    } finally {
      await worker.close();
    }
    expect(seen).toEqual([{ taskId: told[0]!.taskId }]);
    expect(await work.missing(told)).toEqual(told);
  });

  it('does not wait for a Redis that is away', async () => {
    // BullMQ waits for a lost Redis for ever.
    const away = { addBulk: () => new Promise(() => undefined) } as unknown as Queue;
    const slow = new WorkQueue(away, redis, 100);
    await expect(slow.add(dispatches(1))).rejects.toMatchObject({
      code: 'queue-unavailable',
      retryable: true,
    });
    await slow.add([]);
  });
});
