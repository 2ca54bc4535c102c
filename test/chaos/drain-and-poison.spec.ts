import { answer, callTool, eventually } from '#libs/testing';
import { ChaosStack, diedOf, LONG_LEASE } from './chaos-stack.js';
import { faultsOf } from './history.js';

jest.setTimeout(240_000);

/** P13 allows three crashes in a row at one place; both suites go beyond. */
const MAX_CRASHES = 3;

let chaos: ChaosStack;

beforeAll(async () => {
  chaos = await ChaosStack.start();
});
afterAll(() => chaos?.stop());
afterEach(() => chaos.clean());

describe('SIGTERM (fault 10)', () => {
  it('hands the task over at once, however often, and counts as no crash', async () => {
    const name = 'drain';
    const { tools } = chaos.stack;
    const prompt = await chaos.script(name, [callTool('test_hold', { text: name }), answer('drained')]);
    const calls = () => tools.calls['test_hold']!.filter((text) => text === name).length;
    // With this lease a successor that waited for it to run out would come too late for the test.
    let agent = await chaos.victim('', LONG_LEASE);
    const taskId = await chaos.api(agent).accepted({ prompt });
    for (let restart = 1; restart <= MAX_CRASHES + 2; restart += 1) {
      await eventually(() => calls() === restart, Boolean, { what: `call ${restart} of the tool` });
      agent.kill('SIGTERM');
      expect(await agent.exited).toBe(0);
      agent = await chaos.victim('', LONG_LEASE);
    }
    tools.release(name);
    expect(faultsOf(await chaos.outcome(chaos.api(agent), taskId, name), 'drained')).toEqual([]);
    const keys = tools.keys['test_hold']!.filter((_, i) => tools.calls['test_hold']![i] === name);
    expect(new Set(keys).size).toBe(1);
  });

  it('control: a worker that is killed hands nothing over', async () => {
    const name = 'drain-control';
    const prompt = await chaos.script(name, [callTool('test_hold', { text: name }), answer('drained')]);
    const victim = await chaos.victim('', LONG_LEASE);
    const taskId = await chaos.api(victim).accepted({ prompt });
    await eventually(() => chaos.stack.tools.calls['test_hold']!.includes(name));
    victim.kill('SIGKILL');
    await diedOf(victim);
    const next = await chaos.victim('', LONG_LEASE);
    chaos.stack.tools.release(name);
    expect(await chaos.faultsWhenLost(chaos.api(next), taskId, 'drained', name)).toEqual([
      'not ended: running',
    ]);
  });
});

describe('a task whose worker dies each time (P13)', () => {
  it('is quarantined after more than three crashes in a row; other tasks go on', async () => {
    const { tools } = chaos.stack;
    const calls = (name: string) => tools.calls['test_hold']!.filter((text) => text === name).length;
    const submit = async (name: string) =>
      chaos.api(agent).accepted({
        prompt: await chaos.script(name, [callTool('test_hold', { text: name }), answer(`done ${name}`)]),
      });
    const harmless = await chaos.script('harmless', [answer('fine')]);
    // A lease that ran out by itself on a slow machine would be a crash that the test did not count.
    const spawn = () => chaos.victim('', LONG_LEASE);
    let agent = await spawn();
    const [poison, uncounted] = [await submit('poison'), await submit('uncounted')];
    for (let crash = 1; crash <= MAX_CRASHES + 1; crash += 1) {
      await eventually(() => calls('poison') === crash && calls('uncounted') === crash, Boolean, {
        what: `both tasks at their tools for the ${crash}. time`,
      });
      const other = await chaos.api(agent).accepted({ prompt: harmless });
      expect(faultsOf(await chaos.outcome(chaos.api(agent), other, 'harmless'), 'fine')).toEqual([]);
      agent.kill('SIGKILL');
      await diedOf(agent);
      await chaos.leaseRunsOut(poison);
      // Control: for one of the two every crash is made to look like a hand-over.
      await chaos.sql(
        'update agents.tasks set lease_until = null, dispatch_no = dispatch_no + 1 where id = $1',
        [uncounted],
      );
      agent = await spawn();
    }
    const api = chaos.api(agent);
    expect(await api.ended(poison)).toMatchObject({ status: 'failed', error: 'poison', output: null });
    expect(await api.journal(poison)).toMatchObject([
      { body: { kind: 'model' } },
      { body: { kind: 'finish' } },
    ]);
    await eventually(() => calls('uncounted') === MAX_CRASHES + 2);
    expect(calls('poison')).toBe(MAX_CRASHES + 1);
    tools.release('uncounted');
    expect(faultsOf(await chaos.outcome(api, uncounted, 'uncounted'), 'done uncounted')).toEqual([]);
  });
});
