import { answer, eventually } from '#libs/testing';
import { ChaosStack, diedOf, SHORT_LEASES } from './chaos-stack.js';
import { faultsOf, repliesOf } from './history.js';
import { Standby } from './standby.js';

jest.setTimeout(240_000);

/** A model that answers differently whenever it is asked again, calls a tool with an effect, then answers. */
const varying = (name: string) => [
  {
    content: `attempt {{attempt}}`,
    tool_calls: [{ name: 'test_record', arguments: { text: `${name} {{attempt}}` } }],
    vary: true,
  },
  answer(`done ${name}`),
];

describe('a worker that is killed (faults 1 to 6)', () => {
  let chaos: ChaosStack;
  let standby: Standby;

  beforeAll(async () => {
    chaos = await ChaosStack.start();
    standby = await Standby.start(chaos);
  });
  afterAll(() => chaos?.stop());
  beforeEach(() => standby.occupy());
  afterEach(async () => {
    await chaos.killVictims();
    standby.takeOver();
  });

  /** Runs the script on a victim until its failpoint kills it. */
  async function killedAt(failpoint: string, name: string): Promise<string> {
    const prompt = await chaos.script(name, varying(name));
    const victim = await chaos.victim(`${failpoint}=kill`);
    const taskId = await chaos.submitted(victim, name, prompt);
    await diedOf(victim);
    return taskId;
  }

  async function takenOver(taskId: string, name: string) {
    standby.takeOver();
    return chaos.outcome(standby.api, taskId, name);
  }

  describe('1 before the model call', () => {
    it('asks the model elsewhere', async () => {
      const taskId = await killedAt('run.before-llm', 'f1');
      expect(await chaos.asked('f1')).toEqual({});
      const history = await takenOver(taskId, 'f1');
      expect(faultsOf(history, 'done f1')).toEqual([]);
      expect(await chaos.asked('f1')).toEqual({ 0: 1, 1: 1 });
    });

    it('control: is never taken over when its lease does not run out', async () => {
      const taskId = await killedAt('run.before-llm', 'f1c');
      const { rows } = await chaos.sql(
        `update agents.tasks t set lease_until = 'infinity' from agents.tasks former where t.id = $1 and former.id = t.id
         returning greatest(former.lease_until, former.dispatched_at + $2 * interval '1 ms') as due`,
        [taskId, SHORT_LEASES['LEASE_MS']],
      );
      standby.takeOver();
      const isDue = 'select now() > $1::timestamptz as due';
      // Else it would not be taken over yet, whatever its lease.
      await eventually(
        async () => (await chaos.sql(isDue, [(rows[0] as { due: Date }).due])).rows[0] as { due: boolean },
        ({ due }) => due,
      );
      expect(await chaos.faultsWhenLost(standby.api, taskId, 'done f1c', 'f1c')).toEqual([
        'not ended: running',
      ]);
      await chaos.leaseRunsOut(taskId);
      expect(faultsOf(await chaos.outcome(standby.api, taskId, 'f1c'), 'done f1c')).toEqual([]);
    });
  });

  describe('2 after the reply, before the journal', () => {
    it('asks again and acts on the second reply alone', async () => {
      const taskId = await killedAt('run.after-llm', 'f2');
      const history = await takenOver(taskId, 'f2');
      expect(faultsOf(history, 'done f2')).toEqual([]);
      expect(await chaos.asked('f2')).toEqual({ 0: 2, 1: 1 });
      expect(repliesOf(history)[0]).toBe('attempt 2');
      expect(history.effects.map(({ text }) => text)).toEqual(['f2 2']);
    });

    it('control: an effect of a reply that was not journalled first is found out', async () => {
      const taskId = await killedAt('run.after-tool', 'f2c');
      await chaos.sql('delete from agents.journal where task_id = $1', [taskId]);
      const history = await takenOver(taskId, 'f2c');
      expect(faultsOf(history, 'done f2c')).toContain('effect f2c 1 without a journalled call');
    });
  });

  describe('3 after the journal', () => {
    it('does not ask again', async () => {
      const taskId = await killedAt('run.after-journal', 'f3');
      const history = await takenOver(taskId, 'f3');
      expect(faultsOf(history, 'done f3')).toEqual([]);
      expect(await chaos.asked('f3')).toEqual({ 0: 1, 1: 1 });
    });

    it('control: asks again when the journal is gone', async () => {
      const taskId = await killedAt('run.after-journal', 'f3c');
      await chaos.sql('delete from agents.journal where task_id = $1', [taskId]);
      await takenOver(taskId, 'f3c');
      expect(await chaos.asked('f3c')).toEqual({ 0: 2, 1: 1 });
    });
  });

  describe('4 in the middle of its tools', () => {
    it('calls them again with the same Idempotency-Key; the effect happens once', async () => {
      const name = 'f4';
      const { tools } = chaos.stack;
      const prompt = await chaos.script(name, [
        {
          tool_calls: [
            { name: 'test_hold', arguments: { text: name } },
            { name: 'test_record', arguments: { text: name } },
          ],
        },
        answer(`done ${name}`),
      ]);
      const victim = await chaos.victim('');
      const taskId = await chaos.api(victim).accepted({ prompt });
      const keysOf = (tool: string) => tools.keys[tool]!.filter((_, i) => tools.calls[tool]![i] === name);
      await eventually(() => keysOf('test_hold').length === 1 && keysOf('test_record').length === 1);
      victim.kill('SIGKILL');
      await diedOf(victim);
      standby.takeOver();
      const keys = await eventually(
        () => keysOf('test_hold'),
        ({ length }) => length === 2,
      );
      tools.release(name);
      const history = await chaos.outcome(standby.api, taskId, name);
      expect(faultsOf(history, `done ${name}`)).toEqual([]);
      expect(keys[1]).toBe(keys[0]);
      expect(history.effects).toHaveLength(1);

      // Control: under a key of its own the repeated call would have been a second effect.
      await chaos.invokeTool('test_record', { text: name }, 'a-key-made-up-for-the-retry');
      const twice = await chaos.history(standby.api, taskId, name);
      expect(faultsOf(twice, `done ${name}`)).toEqual([`effect ${name} happened 2 times`]);
    });

    it('4b finds the outcome that its predecessor did not live to journal', async () => {
      const taskId = await killedAt('run.after-tool', 'f4b');
      const history = await takenOver(taskId, 'f4b');
      expect(faultsOf(history, 'done f4b')).toEqual([]);
      expect(history.effects).toHaveLength(1);
    });
  });

  describe('6 before the final write', () => {
    it('completes elsewhere', async () => {
      const taskId = await killedAt('run.before-finish', 'f6');
      const history = await takenOver(taskId, 'f6');
      expect(faultsOf(history, 'done f6')).toEqual([]);
      expect(await chaos.asked('f6')).toEqual({ 0: 1, 1: 2 });
    });

    it('control: a status that was set before the result is found out', async () => {
      const taskId = await killedAt('run.before-finish', 'f6c');
      await chaos.sql(`update agents.tasks set status = 'completed', finished_at = now() where id = $1`, [
        taskId,
      ]);
      const history = await chaos.outcome(standby.api, taskId, 'f6c');
      expect(faultsOf(history, 'done f6c')).toEqual([
        'wrong answer: null',
        'journal model,tools',
        '0 steps counted, 1 made',
      ]);
    });
  });
});
