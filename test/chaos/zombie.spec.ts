import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SpawnedService } from '#libs/devstack';
import { answer, eventually } from '#libs/testing';
import { ChaosStack, stopped } from './chaos-stack.js';
import { faultsOf, repliesOf } from './history.js';
import { Standby } from './standby.js';

jest.setTimeout(240_000);

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
    // The successor is at its model until the zombie has been woken, however slow the machine is.
    standby = await Standby.start(chaos, { MODEL_TIMEOUT_MS: '10000' });
  });
  afterAll(() => chaos?.stop());
  beforeEach(() => standby.occupy());
  afterEach(async () => {
    await chaos.killVictims();
    standby.takeOver();
  });

  describe.each([
    { fault: '7 SIGSTOP for twice its lease, then SIGCONT', action: 'stop', blocked: false },
    {
      fault: '8 an event loop that is blocked for longer than its lease',
      action: 'block:600000',
      blocked: true,
    },
  ])('$fault', ({ action, blocked }) => {
    const releaseOf = (name: string) => join(chaos.stack.infrastructure.folder, `release-${name}`);

    /** The zombie holds a reply that it did not journal; the successor has the task and waits for its own. */
    async function superseded(name: string): Promise<{ taskId: string; zombie: SpawnedService }> {
      const prompt = await chaos.script(name, script(name, FROM_ZOMBIE, false));
      const zombie = await chaos.victim(`run.before-journal=${action}@1`, {
        BATON_FAILPOINTS_RELEASE: releaseOf(name),
      });
      const taskId = await chaos.submitted(zombie, name, prompt);
      await eventually(() => zombie.output().includes('failpoint run.before-journal: '), Boolean, {
        what: 'the zombie at its failpoint',
      });
      if (!blocked) await stopped(zombie);
      await chaos.script(name, script(name, FROM_SUCCESSOR, true));
      standby.takeOver();
      await eventually(async () => (await chaos.stack.scenarioCounts(name)).in_flight === 1, Boolean, {
        what: 'the successor at its model',
      });
      return { taskId, zombie };
    }

    const wake = (zombie: SpawnedService, name: string) =>
      blocked ? writeFileSync(releaseOf(name), '') : zombie.kill('SIGCONT');

    const hasLost = (zombie: SpawnedService, taskId: string): boolean =>
      zombie
        .output()
        .split('\n')
        .some((line) => line.includes(taskId) && line.includes('"reason":"lease_lost"'));

    it("refuses the zombie's write; the task has one result", async () => {
      const name = `z-${blocked}`;
      const { taskId, zombie } = await superseded(name);
      wake(zombie, name);
      await eventually(() => hasLost(zombie, taskId), Boolean, { what: 'a fenced zombie' });
      const history = await chaos.outcome(standby.api, taskId, name);
      expect(faultsOf(history, `done ${name}`)).toEqual([]);
      expect(repliesOf(history)[0]).toBe(FROM_SUCCESSOR);
      expect(history.effects.map(({ text }) => text)).toEqual([`${name} ${FROM_SUCCESSOR}`]);
    });

    it("control: takes the zombie's write when the epoch is its own", async () => {
      const name = `zc-${blocked}`;
      const { taskId, zombie } = await superseded(name);
      await chaos.sql(`update agents.tasks set epoch = 1, lease_until = 'infinity' where id = $1`, [taskId]);
      wake(zombie, name);
      const history = await chaos.outcome(standby.api, taskId, name);
      expect(repliesOf(history)[0]).toBe(FROM_ZOMBIE);
      expect(hasLost(zombie, taskId)).toBe(false);
    });
  });
});
