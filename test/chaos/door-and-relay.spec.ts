import { randomUUID } from 'node:crypto';
import type { SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, type TaskApi } from '#libs/testing';
import { ChaosStack, diedOf, SHORT_LEASES } from './chaos-stack.js';
import { faultsOf } from './history.js';

jest.setTimeout(90_000);

describe('the door (faults 11 and 12)', () => {
  let chaos: ChaosStack;
  let survivor: SpawnedService;
  let api: TaskApi;

  beforeAll(async () => {
    chaos = await ChaosStack.start();
    survivor = await chaos.stack.spawnAgent(SHORT_LEASES);
    api = chaos.api(survivor);
  });
  afterAll(() => chaos?.stop());
  afterEach(() => chaos.killVictims());

  /** Submits to a door that dies of it; the client sees a broken connection, never a 202. */
  async function brokenSubmission(failpoint: string, name: string) {
    const prompt = await chaos.script(name, [
      callTool('test_record', { text: name }),
      answer(`done ${name}`),
    ]);
    const request = { body: { prompt, session_id: name }, headers: { 'idempotency-key': randomUUID() } };
    const victim = await chaos.victim(`${failpoint}=kill`);
    await expect(chaos.api(victim).submit(request.body, request.headers)).rejects.toThrow('fetch failed');
    await diedOf(victim);
    return request;
  }

  const tasksOf = async (session_id: string) => (await api.list({ session_id })).body.tasks;

  it('11 killed before the commit: no 202 and no task; the same key begins it', async () => {
    const { body, headers } = await brokenSubmission('intake.before-commit', 'f11');
    expect(await tasksOf('f11')).toEqual([]);
    const taskId = await api.accepted(body, headers);
    expect(faultsOf(await chaos.outcome(api, taskId, 'f11'), 'done f11')).toEqual([]);
    expect(await tasksOf('f11')).toHaveLength(1);
  });

  it('12 killed after the commit: no 202, but the task runs, and the same key returns it', async () => {
    const { body, headers } = await brokenSubmission('intake.after-commit', 'f12');
    // Control of 11: this is how a task that nobody confirmed looks.
    const [known] = await tasksOf('f12');
    const again = await api.submit(body, headers);
    expect(again).toMatchObject({ status: 202, body: { task_id: known!.task_id } });
    expect(faultsOf(await chaos.outcome(api, known!.task_id, 'f12'), 'done f12')).toEqual([]);
    expect(await tasksOf('f12')).toHaveLength(1);
    expect(await chaos.asked('f12')).toEqual({ 0: 1, 1: 1 });
  });

  it('12 control: without its key the same request is a second task, and its effect a second effect', async () => {
    const { body, headers } = await brokenSubmission('intake.after-commit', 'f12c');
    await chaos.sql('update agents.tasks set idempotency_key = null where session_id = $1', ['f12c']);
    const taskId = await api.accepted(body, headers);
    expect(await tasksOf('f12c')).toHaveLength(2);
    expect(faultsOf(await chaos.outcome(api, taskId, 'f12c'), 'done f12c')).toEqual([
      'effect f12c happened 2 times',
    ]);
  });
});

describe('the relay (faults 13 and 14)', () => {
  let chaos: ChaosStack;

  beforeAll(async () => {
    chaos = await ChaosStack.start();
  });
  afterAll(() => chaos?.stop());
  afterEach(() => chaos.killVictims());

  /** Nobody but the relay tells the queue: not the door, and not the look for lost jobs. */
  const RELAY_ONLY = 'dispatch.before-add=throw';
  const NO_SHORTCUT = { LOCAL_RUNS: '0', LOST_AFTER_MS: '600000' };

  const script = (name: string) =>
    chaos.script(name, [callTool('test_record', { text: name }), answer(`done ${name}`)]);

  it('13 dies between add and mark: one run', async () => {
    const prompt = await script('f13');
    // Its only slot is taken, so that it cannot fetch what it adds: the second batch, which kills it.
    const relay = await chaos.victim(`${RELAY_ONLY};relay.after-add=kill@2`, {
      ...NO_SHORTCUT,
      WORKER_CONCURRENCY: '1',
    });
    const api = chaos.api(relay);
    await api.accepted({ prompt: await chaos.script('busy', [callTool('test_hold', { text: 'busy' })]) });
    await eventually(() => chaos.stack.tools.calls['test_hold']!.includes('busy'));
    const taskId = await api.accepted({ prompt });
    await diedOf(relay);
    expect(await addsOf([taskId])).toEqual([1]);
    const { rows } = await chaos.sql('select dispatch_no from agents.outbox where task_id = $1', [taskId]);
    expect(rows).toEqual([{ dispatch_no: 1 }]);
    const survivor = await chaos.victim('');
    const history = await chaos.outcome(chaos.api(survivor), taskId, 'f13');
    expect(faultsOf(history, 'done f13')).toEqual([]);
    expect(await chaos.asked('f13')).toEqual({ 0: 1, 1: 1 });
  });

  it('14 two relays: one dispatch each', async () => {
    // Each holds what it took for a while, so that the other one comes by.
    const points = `${RELAY_ONLY};relay.after-add=delay:700`;
    const relays = await Promise.all([chaos.victim(points, NO_SHORTCUT), chaos.victim(points, NO_SHORTCUT)]);
    const prompt = await chaos.script('f14', [answer('done f14')]);
    const apis = relays.map((relay) => chaos.api(relay));
    const taskIds = await Promise.all(
      Array.from({ length: 20 }, (_, i) => apis[i % 2]!.accepted({ prompt: `${prompt} ${i}` })),
    );
    for (const id of taskIds)
      expect(faultsOf(await chaos.outcome(apis[0]!, id, 'f14'), 'done f14')).toEqual([]);
    await eventually(async () => (await chaos.sql('select 1 from agents.outbox')).rowCount === 0);
    expect(await addsOf(taskIds)).toEqual(taskIds.map(() => 1));
    expect(await chaos.asked('f14')).toEqual({ 0: taskIds.length });

    // Control: a second relay that saw the same row is a second dispatch; the claim still makes it one run.
    const seenTwice = async () => {
      // Again, because a relay that has not finished with the first one may take this one for it.
      await chaos.sql(
        `insert into agents.outbox (task_id, dispatch_no, agent_id, due_at) values ($1, 1, 'agent-test', now())
         on conflict do nothing`,
        [taskIds[0]],
      );
      return (await addsOf(taskIds))[0]!;
    };
    await eventually(seenTwice, (adds) => adds > 1, { everyMs: 500, what: 'a second dispatch' });
    expect(faultsOf(await chaos.outcome(apis[0]!, taskIds[0]!, 'f14'), 'done f14')).toEqual([]);
    expect(await chaos.asked('f14')).toEqual({ 0: taskIds.length });
  });

  const jobsOf = (taskId: string) => chaos.redis.keys(`bull:agent.run.test:${taskId}-*`);

  it('a job that fails before its task is claimed is dispatched again, and nothing of it stays in Redis', async () => {
    const agent = await chaos.victim('worker.before-claim=throw@1', { LOCAL_RUNS: '0' });
    const api = chaos.api(agent);
    const taskId = await api.accepted({ prompt: await script('failed-job') });
    const history = await chaos.outcome(api, taskId, 'failed-job');
    expect(agent.output()).toContain('failpoint worker.before-claim: throw');
    expect(faultsOf(history, 'done failed-job')).toEqual([]);
    await eventually(async () => (await jobsOf(taskId)).length === 0);
  });

  /** How often each task was added to the queue, by the queue's own event stream. */
  async function addsOf(taskIds: string[]): Promise<number[]> {
    const events = await chaos.redis.xrange('bull:agent.run.test:events', '-', '+');
    const added = events
      .map(([, fields]) => fields)
      .filter((fields) => ['added', 'duplicated'].includes(fields[fields.indexOf('event') + 1]!))
      .map((fields) => fields[fields.indexOf('jobId') + 1]!);
    return taskIds.map((id) => added.filter((jobId) => jobId.startsWith(id)).length);
  }
});
