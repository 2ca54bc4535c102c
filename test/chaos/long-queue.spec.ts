import { randomUUID } from 'node:crypto';
import type { Queue } from 'bullmq';
import type { Env } from '#libs/chassis';
import type { SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually } from '#libs/testing';
import { ChaosStack, diedOf } from './chaos-stack.js';
import { faultsOf } from './history.js';

jest.setTimeout(240_000);

/** So many jobs that the queue is told no more. */
const LONG = 1000;
const TOLD = 5;
const BEHIND = 20;
/** One task at a time, so that the others wait. */
const ONE_SLOT: Env = { WORKER_CONCURRENCY: '1', LOCAL_RUNS: '0' };

describe('a long queue', () => {
  let chaos: ChaosStack;
  let queue: Queue;

  beforeAll(async () => {
    chaos = await ChaosStack.start();
    queue = chaos.openQueue();
    await chaos.makeTables();
  });
  afterAll(async () => {
    await queue?.close();
    await chaos?.stop();
  });
  afterEach(() => chaos.clean());

  const submitAll = async (agent: SpawnedService, names: string[]) =>
    Promise.all(
      names.map(async (name) =>
        chaos.api(agent).accepted({
          prompt: await chaos.script(name, [callTool('test_record', { text: name }), answer(`done ${name}`)]),
        }),
      ),
    );

  /** Resolves when the agent has looked `times` more how long its queue is. */
  async function looks(times: number): Promise<void> {
    const made = async () =>
      Number(/cmdstat_llen:calls=(\d+)/.exec(await chaos.redis.info('commandstats'))?.[1] ?? 0);
    const before = await made();
    await eventually(async () => (await made()) >= before + times, Boolean, { what: 'looks at the queue' });
  }

  /** One task at its tool, some in the queue, jobs of no task behind them, and others that only the outbox knows. */
  async function submitted(agent: SpawnedService, name: string) {
    const held = [`${name}-held.`];
    const script = await chaos.script(held[0]!, [
      {
        tool_calls: ['test_hold', 'test_record'].map((tool) => ({
          name: tool,
          arguments: { text: held[0]! },
        })),
      },
      answer(`done ${held[0]!}`),
    ]);
    const heldId = await chaos.api(agent).accepted({ prompt: script });
    await eventually(() => chaos.stack.tools.calls['test_hold']!.includes(held[0]!));
    const told = Array.from({ length: TOLD }, (_, i) => `${name}-told-${i}.`);
    const toldIds = await submitAll(agent, told);
    await eventually(async () => (await chaos.outbox()).length === 0, Boolean, { what: 'an empty outbox' });
    await queue.addBulk(
      Array.from({ length: LONG }, () => ({
        name: 'run',
        data: { taskId: randomUUID() },
        opts: { removeOnComplete: true },
      })),
    );
    // The door knows it, too.
    await looks(2);
    const behind = Array.from({ length: BEHIND }, (_, i) => `${name}-behind-${i}.`);
    const behindIds = await submitAll(agent, behind);
    return { names: [...held, ...told, ...behind], ids: [heldId, ...toldIds, ...behindIds], behindIds };
  }

  it('what waits in the outbox and what was lost with Redis is done, once, after its agent was killed', async () => {
    const victim = await chaos.victim('', ONE_SLOT);
    const { names, ids, behindIds } = await submitted(victim, 'long');
    await looks(5);
    const kept = (await chaos.outbox()).map(({ task_id: id }) => id).filter((id) => behindIds.includes(id));
    expect(kept.length).toBeGreaterThan(BEHIND / 2);
    for (const id of ids) expect(await chaos.dispatchNo(id)).toBe(1);

    victim.kill('SIGKILL');
    await chaos.redis.flushall();
    await diedOf(victim);
    chaos.stack.tools.release(names[0]!);
    const api = chaos.api(await chaos.victim(''));
    const faults: string[] = [];
    for (const [i, id] of ids.entries())
      faults.push(...faultsOf(await chaos.outcome(api, id, names[i]!), `done ${names[i]!}`));
    expect(faults).toEqual([]);
    expect(await chaos.outbox()).toEqual([]);
  });

  it('control: without the relay, what waits in the outbox stays there', async () => {
    const victim = await chaos.victim('', ONE_SLOT);
    const { names, behindIds } = await submitted(victim, 'kept');
    victim.kill('SIGKILL');
    await chaos.redis.flushall();
    await diedOf(victim);
    chaos.stack.tools.release(names[0]!);
    const blind = await chaos.victim('relay.before-add=throw');
    await looks(5);
    const statuses = await Promise.all(
      behindIds.map(async (id) => (await chaos.api(blind).get(id)).body.status),
    );
    expect(statuses).toEqual(behindIds.map(() => 'pending'));
    // It would take what it cannot tell again and again, and might be first each time.
    await chaos.killVictims();
    const seeing = chaos.api(await chaos.victim(''));
    for (const id of behindIds) expect((await seeing.ended(id, 60_000)).status).toBe('completed');
  });
});
