import { BatonHome, startRedis, stopProcess, type SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, type TaskApi } from '#libs/testing';
import { ChaosStack, SHORT_LEASES } from './chaos-stack.js';
import { faultsOf } from './history.js';

jest.setTimeout(240_000);

const WAITING = 8;
/** One task at a time, so that the others wait in Redis. */
const ONE_SLOT = { WORKER_CONCURRENCY: '1', LOCAL_RUNS: '0' };

describe('Redis', () => {
  let chaos: ChaosStack;
  let agent: SpawnedService;
  let api: TaskApi;

  beforeAll(async () => {
    chaos = await ChaosStack.start();
    agent = await chaos.stack.spawnAgent({ ...SHORT_LEASES, ...ONE_SLOT });
    api = chaos.api(agent);
  });
  afterAll(() => chaos?.stop());

  /** One task at its tool, the others behind it. */
  async function submitted(name: string, to: TaskApi): Promise<string[]> {
    const step = {
      tool_calls: ['test_hold', 'test_record'].map((tool) => ({ name: tool, arguments: { text: name } })),
    };
    const held = await to.accepted({ prompt: await chaos.script(name, [step, answer('done')]) });
    await eventually(() => chaos.stack.tools.calls['test_hold']!.includes(name));
    const waiting = await Promise.all(
      Array.from({ length: WAITING }, (_, i) => submitOne(`${name}-${i}`, to)),
    );
    // All are told: what is still on its way to Redis would arrive after the disaster and not be hit by it.
    await eventually(async () => (await chaos.outbox()).length === 0, Boolean, { what: 'an empty outbox' });
    expect(await chaos.waitingJobs()).toHaveLength(WAITING);
    return [held, ...waiting];
  }

  const submitOne = async (name: string, to: TaskApi) =>
    to.accepted({
      prompt: await chaos.script(name, [callTool('test_record', { text: name }), answer('done')]),
    });

  async function verdicts(name: string, taskIds: string[]): Promise<string[]> {
    const names = [name, ...taskIds.slice(1).map((_, i) => `${name}-${i}`)];
    const faults: string[] = [];
    for (const [i, id] of taskIds.entries()) {
      const { view, journal, effects } = await chaos.outcome(api, id, names[i]!);
      const own = effects.filter(({ text }) => text === names[i]);
      faults.push(...faultsOf({ view, journal, effects: own }, 'done'));
    }
    return faults;
  }

  it('15 killed: tasks are still accepted and go on, and it resumes when Redis is back', async () => {
    const taskIds = await submitted('f15', api);
    const { folder, redis } = chaos.stack.infrastructure;
    await stopProcess(redis.process, 'SIGKILL', 5000);
    taskIds.push(await submitOne(`f15-${WAITING}`, api));
    chaos.stack.tools.release('f15');
    // What runs needs no Redis.
    expect((await api.ended(taskIds[0]!)).status).toBe('completed');
    await startRedis({
      folder,
      port: redis.port,
      cache: BatonHome.fromEnv(process.env).folder,
      notice: () => undefined,
    });
    expect(await verdicts('f15', taskIds)).toEqual([]);
  });

  it('17 FLUSHALL: the queue is rebuilt within 30 s', async () => {
    const taskIds = await submitted('f17', api);
    await chaos.redis.flushall();
    const flushed = Date.now();
    chaos.stack.tools.release('f17');
    expect(await verdicts('f17', taskIds)).toEqual([]);
    expect(Date.now() - flushed).toBeLessThan(30_000);
  });

  it('15 and 17, control: without the look for lost jobs the waiting tasks stay where they are', async () => {
    await agent.stop();
    const blind = await chaos.stack.spawnAgent({ ...SHORT_LEASES, ...ONE_SLOT, LOST_AFTER_MS: '600000' });
    api = chaos.api(blind);
    const taskIds = await submitted('f17c', api);
    await chaos.redis.flushall();
    chaos.stack.tools.release('f17c');
    await api.ended(taskIds[0]!);
    for (const [i, id] of taskIds.slice(1, 3).entries())
      expect(await chaos.faultsWhenLost(api, id, 'done', `f17c-${i}`)).toEqual(['not ended: pending']);
    const seeing = await chaos.stack.spawnAgent({ ...SHORT_LEASES, ...ONE_SLOT });
    api = chaos.api(seeing);
    expect(await verdicts('f17c', taskIds)).toEqual([]);
  });
});
