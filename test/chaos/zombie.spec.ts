import type { SpawnedService } from '#libs/devstack';
import { answer, eventually } from '#libs/testing';
import { ChaosStack, stopped } from './chaos-stack.js';
import { faultsOf, repliesOf } from './history.js';
import { Standby } from './standby.js';

jest.setTimeout(90_000);

const LEASE_MS = 1500;
const FROM_ZOMBIE = 'from the zombie';
const FROM_SUCCESSOR = 'from the successor';

/** What each worker of the task is told by its model, so that the journal shows who wrote it. */
const script = (name: string, content: string, hangs: boolean) => [
  {
    content,
    tool_calls: [{ name: 'test_record', arguments: { text: `${name} ${content}` } }],
    ...(hangs ? { hang: true, times: 1 } : {}),
  },
  answer(`done ${name}`),
];

describe('a worker that only seems dead', () => {
  let chaos: ChaosStack;
  let standby: Standby;

  beforeAll(async () => {
    chaos = await ChaosStack.start({ LEASE_MS: String(LEASE_MS) });
    standby = await Standby.start(chaos);
  });
  afterAll(() => chaos?.stop());
  beforeEach(() => standby.occupy());
  afterEach(() => {
    chaos.killVictims();
    standby.takeOver();
  });

  describe.each([
    { fault: '7 SIGSTOP for twice its lease, then SIGCONT', action: 'stop', wakes: false },
    { fault: '8 an event loop that is blocked for longer than its lease', action: 'block:8000', wakes: true },
  ])('$fault', ({ action, wakes }) => {
    /** The zombie holds a reply that it did not journal; the successor has the task and waits for its own. */
    async function superseded(name: string): Promise<{ taskId: string; zombie: SpawnedService }> {
      const prompt = await chaos.script(name, script(name, FROM_ZOMBIE, false));
      const zombie = await chaos.victim(`run.before-journal=${action}@1`);
      const taskId = await chaos.api(zombie).accepted({ prompt });
      if (wakes) await eventually(async () => (await chaos.asked(name))[0] === 1);
      else await stopped(zombie);
      await chaos.script(name, script(name, FROM_SUCCESSOR, true));
      standby.takeOver();
      await eventually(async () => (await chaos.stack.scenarioCounts(name)).in_flight === 1, Boolean, {
        what: 'the successor at its model',
      });
      return { taskId, zombie };
    }

    const wake = (zombie: SpawnedService) => void (wakes || zombie.kill('SIGCONT'));

    const hasLost = (zombie: SpawnedService, taskId: string): boolean =>
      zombie
        .output()
        .split('\n')
        .some((line) => line.includes(taskId) && line.includes('"reason":"lease_lost"'));

    it("refuses the zombie's write; the task has one result", async () => {
      const name = `z-${wakes}`;
      const { taskId, zombie } = await superseded(name);
      wake(zombie);
      await eventually(() => hasLost(zombie, taskId), Boolean, { what: 'a fenced zombie' });
      const history = await chaos.outcome(standby.api, taskId, name);
      expect(faultsOf(history, `done ${name}`)).toEqual([]);
      expect(repliesOf(history)[0]).toBe(FROM_SUCCESSOR);
      expect(history.effects.map(({ text }) => text)).toEqual([`${name} ${FROM_SUCCESSOR}`]);
    });

    it("control: takes the zombie's write when the epoch is its own", async () => {
      const name = `zc-${wakes}`;
      const { taskId, zombie } = await superseded(name);
      await chaos.sql(`update agents.tasks set epoch = 1, lease_until = 'infinity' where id = $1`, [taskId]);
      wake(zombie);
      const history = await chaos.outcome(standby.api, taskId, name);
      expect(repliesOf(history)[0]).toBe(FROM_ZOMBIE);
      expect(hasLost(zombie, taskId)).toBe(false);
    });
  });
});
