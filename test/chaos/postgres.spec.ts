import { startPostgres, stopProcess, type SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, type TaskApi } from '#libs/testing';
import { ChaosStack, SHORT_LEASES } from './chaos-stack.js';
import { faultsOf } from './history.js';

jest.setTimeout(240_000);

/** A door without its database answers rather than waits. */
const REFUSED_WITHIN_MS = 5000;

describe('22 Postgres is killed in the middle of a run', () => {
  let chaos: ChaosStack;
  let agent: SpawnedService;
  let api: TaskApi;

  beforeAll(async () => {
    chaos = await ChaosStack.start();
    agent = await chaos.stack.spawnAgent(SHORT_LEASES);
    api = chaos.api(agent);
  });
  afterAll(() => chaos?.stop());

  const submitAndHold = async (name: string) => {
    const prompt = await chaos.script(name, [
      callTool('test_record', { text: name }),
      callTool('test_hold', { text: name }),
      answer('done'),
    ]);
    const taskId = await api.accepted({ prompt });
    await eventually(() => chaos.stack.tools.calls['test_hold']!.includes(name));
    return taskId;
  };

  it('the door answers 503 meanwhile; then it recovers, and the run completes', async () => {
    const taskId = await submitAndHold('f22');
    const { folder, postgres } = chaos.stack.infrastructure;
    await stopProcess(postgres.process, 'SIGKILL', 5000);

    const prompt = await chaos.script('f22-late', [answer('late')]);
    const request = [{ prompt, session_id: 'late' }, { 'idempotency-key': 'late' }] as const;
    const asked = Date.now();
    expect(await api.submit(...request)).toMatchObject({
      status: 503,
      body: { code: 'database-unavailable' },
    });
    expect(Date.now() - asked).toBeLessThan(REFUSED_WITHIN_MS);
    expect((await api.get(taskId)).status).toBe(503);
    expect((await fetch(`${agent.url}/health`)).status).toBe(200);
    expect((await fetch(`${agent.url}/ready`)).status).toBe(503);
    // The result of the tool arrives while there is nowhere to write it.
    chaos.stack.tools.release('f22');

    await startPostgres({ folder, port: postgres.port });
    const history = await eventually(() => chaos.outcome(api, taskId, 'f22'));
    expect(faultsOf(history, 'done')).toEqual([]);
    // The last step may be asked for twice: a lease that ran out meanwhile is either renewed or claimed anew.
    expect(await chaos.asked('f22')).toMatchObject({ 0: 1, 1: 1 });
    // What was refused left nothing behind: the same key begins it now.
    const late = await api.accepted(...request);
    expect(faultsOf(await chaos.outcome(api, late, 'f22-late'), 'late')).toEqual([]);
    expect((await api.list({ session_id: 'late' })).body.tasks).toHaveLength(1);
  });

  it('control: an acceptance that Postgres forgot is found out', async () => {
    const taskId = await submitAndHold('f22c');
    await chaos.sql('delete from agents.tasks where id = $1', [taskId]);
    chaos.stack.tools.release('f22c');
    await expect(chaos.history(api, taskId, 'f22c')).rejects.toThrow('404');
  });

  it('control: a run whose results Postgres forgot asks its model again', async () => {
    const taskId = await submitAndHold('f22d');
    agent.kill('SIGKILL');
    await agent.exited;
    await chaos.sql('delete from agents.journal where task_id = $1', [taskId]);
    chaos.stack.tools.release('f22d');
    agent = await chaos.stack.spawnAgent(SHORT_LEASES);
    await chaos.outcome(chaos.api(agent), taskId, 'f22d');
    expect(await chaos.asked('f22d')).toMatchObject({ 0: 2, 1: 2 });
  });
});
