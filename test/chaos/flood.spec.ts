import { isTerminal, type TaskView } from '#libs/contracts';
import { answer, callTool, eventually, type TaskApi } from '#libs/testing';
import { ChaosStack, diedOf, SHORT_LEASES } from './chaos-stack.js';
import { faultsOf } from './history.js';

jest.setTimeout(240_000);

const TASKS = 200;
const EFFECTS_PER_TASK = 2;

interface Counts {
  ended: number;
  completed: number;
  effects: number;
  duplicates: number;
  lost: number;
  faults: string[];
}

describe('many tasks in flight', () => {
  let chaos: ChaosStack;

  beforeAll(async () => {
    chaos = await ChaosStack.start();
  });
  afterAll(() => chaos?.stop());
  afterEach(async () => {
    chaos.stack.tools.aroundEffect({});
    await chaos.killVictims();
  });

  /** One script per task, so that every effect says whose it is. */
  async function submitAll(names: string[], doors: TaskApi[]): Promise<string[]> {
    return Promise.all(
      names.map(async (name, i) => {
        const prompt = await chaos.script(name, [
          callTool('test_record', { text: `${name} first` }),
          callTool('test_record', { text: `${name} second` }),
          answer(`done ${name}`),
        ]);
        return doors[i % doors.length]!.accepted({ prompt });
      }),
    );
  }

  const effectsOf = (name: string) =>
    chaos.stack.tools.effects.filter(({ text }) => text === `${name} first` || text === `${name} second`);

  /** The verdict from the public history of each task and the tools' own ledger. */
  async function count(api: TaskApi, names: string[], taskIds: string[]): Promise<Counts> {
    const counts: Counts = { ended: 0, completed: 0, effects: 0, duplicates: 0, lost: 0, faults: [] };
    for (const [i, name] of names.entries()) {
      const history = await chaos.history(api, taskIds[i]!, name);
      const effects = effectsOf(name);
      const distinct = new Set(effects.map(({ text }) => text)).size;
      counts.ended += Number(isTerminal(history.view.status));
      counts.completed += Number(history.view.status === 'completed');
      counts.effects += effects.length;
      counts.duplicates += effects.length - distinct;
      counts.lost += EFFECTS_PER_TASK - distinct;
      counts.faults.push(...faultsOf({ ...history, effects }, `done ${name}`));
    }
    return counts;
  }

  const allEnded = (api: TaskApi, taskIds: string[], timeoutMs: number): Promise<TaskView[]> =>
    Promise.all(taskIds.map((id) => api.ended(id, timeoutMs)));

  const namesOf = (prefix: string, length: number) => Array.from({ length }, (_, i) => `${prefix}-${i}.`);

  it(`${TASKS} tasks, a worker is killed and Redis flushed in the middle: all end, every effect happens once`, async () => {
    const { tools } = chaos.stack;
    const recorded = tools.calls['test_record']!;
    // Every first effect waits until all tasks are in flight, then half of them until the disaster is over.
    let open = 0;
    let entered = 0;
    tools.aroundEffect({
      before: async (text) => {
        if (!text.endsWith('first')) return;
        const turn = (entered += 1);
        await eventually(() => turn <= open, Boolean, { timeoutMs: 90_000, what: `effect ${turn}` });
      },
    });
    const names = namesOf('flood', TASKS);
    const [victim, survivor] = await Promise.all([
      chaos.victim('', { LOCAL_RUNS: '60' }),
      chaos.stack.spawnAgent({ ...SHORT_LEASES, LOCAL_RUNS: '60' }),
    ]);
    const api = chaos.api(survivor);
    const taskIds = await submitAll(names, [chaos.api(victim), api]);
    await eventually(() => recorded.length === TASKS, Boolean, { what: `${TASKS} tasks in flight` });

    open = TASKS / 2;
    await eventually(() => tools.effects.length > TASKS / 2, Boolean, { what: 'the middle' });
    victim.kill('SIGKILL');
    await chaos.redis.flushall();
    await diedOf(victim);
    open = TASKS;

    await allEnded(api, taskIds, 90_000);
    const { faults, ...counts } = await count(api, names, taskIds);
    const { rows } = await chaos.sql(
      'select count(*)::int as n from agents.tasks where epoch > 1 and id = any($1::uuid[])',
      [taskIds],
    );
    const takenOver = (rows[0] as { n: number }).n;
    process.stdout.write(`flood: ${JSON.stringify({ tasks: TASKS, takenOver, ...counts })}\n`);
    expect(faults).toEqual([]);
    expect(counts).toEqual({
      ended: TASKS,
      completed: TASKS,
      effects: TASKS * EFFECTS_PER_TASK,
      duplicates: 0,
      lost: 0,
    });
    // A disaster that hit nobody proves nothing.
    expect(takenOver).toBeGreaterThan(TASKS / 10);
  });

  it('control: with the effect ledger emptied as well, effects happen twice', async () => {
    const names = namesOf('control', 10);
    const victim = await chaos.victim('run.after-tool=kill');
    // No effect, and so no death, before the door has accepted everything.
    let accepted = false;
    chaos.stack.tools.aroundEffect({ before: async () => void (await eventually(() => accepted)) });
    const taskIds = await submitAll(names, [chaos.api(victim)]);
    accepted = true;
    await diedOf(victim);
    await chaos.sql('delete from registry.effects');
    const survivor = await chaos.victim('');
    const api = chaos.api(survivor);
    await allEnded(api, taskIds, 60_000);
    const { duplicates, faults } = await count(api, names, taskIds);
    expect(duplicates).toBeGreaterThan(0);
    expect(faults).toContainEqual(expect.stringMatching(/^effect control-\d+\. first happened 2 times$/));
  });
});
