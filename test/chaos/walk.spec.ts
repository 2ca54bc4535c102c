import { randomInt } from 'node:crypto';
import type { Env } from '#libs/chassis';
import type { SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually } from '#libs/testing';
import { ChaosStack, stopped } from './chaos-stack.js';
import { faultsOf, type History } from './history.js';
import { randomFrom, sampleOf } from './seed.js';
import { Standby } from './standby.js';

jest.setTimeout(240_000);

/** Every failpoint that an agent passes. */
const FAILPOINTS = [
  'intake.before-commit',
  'intake.after-commit',
  'dispatch.before-add',
  'relay.before-add',
  'relay.after-add',
  'worker.before-claim',
  'worker.after-claim',
  'run.before-llm',
  'run.after-llm',
  'run.before-tool',
  'run.after-tool',
  'run.before-journal',
  'run.after-journal',
  'run.before-finish',
  'run.after-finish',
];
const ACTIONS = ['kill', 'stop', 'throw', 'delay:2500'];
const ANSWER_MS = 4000;

const seed = Number(process.env['BATON_CHAOS_SEED'] ?? randomInt(2 ** 31));
const walks = Number(process.env['BATON_CHAOS_WALKS'] ?? 10);

const isRelay = (point: string): boolean => point.startsWith('relay.');

/** What a failpoint needs to be passed: the queue's way where there is a shortcut past it. */
function surroundings(point: string): { also: string; env: Env } {
  if (isRelay(point)) return { also: ';dispatch.before-add=throw', env: { LOCAL_RUNS: '0' } };
  return { also: '', env: { LOCAL_RUNS: point === 'dispatch.before-add' || random() < 0.5 ? '0' : '64' } };
}

const random = randomFrom(seed);
const PLAN = sampleOf(
  FAILPOINTS.flatMap((point) => ACTIONS.map((action) => ({ point, action }))),
  walks,
  random,
).map(({ point, action }) => ({
  point,
  action,
  // One relay may take all tasks at once.
  nth: isRelay(point) ? 1 : 1 + Math.floor(random() * 2),
  ...surroundings(point),
}));

describe(`a walk over failpoints and actions, BATON_CHAOS_SEED=${seed}`, () => {
  let chaos: ChaosStack;
  let standby: Standby;

  beforeAll(async () => {
    process.stdout.write(`chaos walk: BATON_CHAOS_SEED=${seed} BATON_CHAOS_WALKS=${walks}\n`);
    chaos = await ChaosStack.start();
    standby = await Standby.start(chaos);
  });
  afterAll(() => chaos?.stop());
  beforeEach(() => standby.occupy());
  afterEach(async () => {
    await chaos.killVictims();
    standby.agent.kill('SIGCONT');
    standby.takeOver();
  });

  /** As a client does it: to the next instance with the same key when the first gives no answer. */
  async function submit(victim: SpawnedService, name: string): Promise<string> {
    const prompt = await chaos.script(name, [
      callTool('test_record', { text: name }),
      answer(`done ${name}`),
    ]);
    const headers = { 'idempotency-key': name };
    const silence = new Promise<null>((resolve) => setTimeout(resolve, ANSWER_MS, null).unref());
    const first = chaos
      .api(victim)
      .submit({ prompt }, headers)
      .catch(() => null);
    const answered = await Promise.race([first, silence]);
    return answered?.status === 202 ? answered.body.task_id : standby.api.accepted({ prompt }, headers);
  }

  it.each(PLAN)('$point = $action@$nth $env', async ({ point, action, nth, also, env }) => {
    const victim = await chaos.victim(`${point}=${action}@${nth}${also}`, env);
    // Its slot is taken, but its relay is not.
    if (isRelay(point)) standby.agent.kill('SIGSTOP');
    const names = ['a', 'b', 'c'].map((suffix) => `${point}-${action.replace(':', '-')}-${suffix}`);
    const taskIds = await Promise.all(names.map((name) => submit(victim, name)));
    await eventually(() => victim.output().includes(`failpoint ${point}: `), Boolean, {
      what: 'the victim at its failpoint',
    });
    standby.agent.kill('SIGCONT');
    standby.takeOver();
    const check = async () => {
      for (const [i, name] of names.entries())
        expect(verdict(await chaos.outcome(standby.api, taskIds[i]!, name), name, { point, action })).toEqual(
          [],
        );
    };
    await check();
    if (action === 'stop') {
      await stopped(victim);
      victim.kill('SIGCONT');
      await eventually(async () => (await fetch(`${victim.url}/ready`)).ok);
      await check();
    }
  });
});

/** An exception that nobody foresaw ends a run as `internal`, once and said so; all else must not be noticed. */
function verdict(
  history: History,
  name: string,
  { point, action }: { point: string; action: string },
): string[] {
  const { view, effects } = history;
  const unforeseen = action === 'throw' && point.startsWith('run.');
  if (!unforeseen || view.error !== 'internal') return faultsOf(history, `done ${name}`);
  const faults = view.status === 'failed' ? [] : [`ended ${view.status} with an internal error`];
  return effects.length > 1 ? [...faults, `effect ${name} happened ${effects.length} times`] : faults;
}
