import { answer, callTool } from '#libs/testing';
import { ChaosStack, diedOf, stopped } from './chaos-stack.js';
import { faultsOf, writesOf } from './history.js';
import { Standby } from './standby.js';

jest.setTimeout(240_000);

describe('the registry and the worker die after the effect, before the ledger has its outcome (fault 5)', () => {
  let chaos: ChaosStack;
  let standby: Standby;

  beforeAll(async () => {
    chaos = await ChaosStack.start();
    standby = await Standby.start(chaos);
  });
  afterAll(() => chaos?.stop());
  beforeEach(() => standby.occupy());
  afterEach(async () => {
    chaos.stack.tools.aroundEffect({});
    await chaos.killVictims();
    standby.takeOver();
  });

  /** The tool has had its effect; neither ledger nor journal know. */
  async function diedAfterEffect(tool: string, name: string): Promise<string> {
    const prompt = await chaos.script(name, [callTool(tool, { text: name }), answer(`done ${name}`)]);
    const registry = await chaos.stack.spawnRegistry({ BATON_FAILPOINTS: 'registry.after-dispatch=kill' });
    const victim = await chaos.victim('', { TOOL_REGISTRY_URL: registry.url });
    // The worker must not learn of its registry's death: it would go on by itself. A pending SIGSTOP comes before anything else that
    // wakes it, and waiting for it here would eat up the tool's short time limit.
    chaos.stack.tools.aroundEffect({ after: async () => victim.kill('SIGSTOP') });
    const taskId = await chaos.api(victim).accepted({ prompt });
    await diedOf(registry);
    await stopped(victim);
    chaos.stack.tools.aroundEffect({});
    victim.kill('SIGKILL');
    await diedOf(victim);
    expect(chaos.stack.tools.effects.filter(({ text }) => text === name)).toHaveLength(1);
    return taskId;
  }

  const callsOf = (tool: string, name: string) =>
    chaos.stack.tools.keys[tool]!.filter((_, i) => chaos.stack.tools.calls[tool]![i] === name);

  it('asks a tool that knows its keys again, with the same key', async () => {
    const taskId = await diedAfterEffect('test_upsert', 'f5');
    standby.takeOver();
    const history = await chaos.outcome(standby.api, taskId, 'f5');
    expect(faultsOf(history, 'done f5')).toEqual([]);
    expect(writesOf(history.journal)).toEqual([{ text: 'f5', code: 'ok' }]);
    const [first, second, ...more] = callsOf('test_upsert', 'f5');
    expect(second).toBe(first);
    expect(more).toEqual([]);
  });

  it('never asks any other tool again: the model is told that the outcome is unknown', async () => {
    const taskId = await diedAfterEffect('test_transfer', 'f5n');
    standby.takeOver();
    const history = await chaos.outcome(standby.api, taskId, 'f5n');
    expect(faultsOf(history, 'done f5n')).toEqual([]);
    expect(writesOf(history.journal)).toEqual([{ text: 'f5n', code: 'outcome_unknown' }]);
    expect(callsOf('test_transfer', 'f5n')).toHaveLength(1);
  });

  it('control: has the effect twice when the ledger forgot it', async () => {
    const taskId = await diedAfterEffect('test_transfer', 'f5c');
    await chaos.sql('delete from registry.effects');
    standby.takeOver();
    const history = await chaos.outcome(standby.api, taskId, 'f5c');
    expect(faultsOf(history, 'done f5c')).toEqual(['effect f5c happened 2 times']);
  });
});
