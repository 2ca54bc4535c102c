import { randomUUID } from 'node:crypto';
import type { Queue } from 'bullmq';
import type { SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, type TaskApi } from '#libs/testing';
import { ChaosStack, diedOf, LONG_LEASE, SHORT_LEASES, stopped } from './chaos-stack.js';
import { faultsOf } from './history.js';

jest.setTimeout(240_000);

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
  afterEach(async () => {
    await chaos.sql('drop function if exists agents.on_relay cascade');
    await chaos.clean();
  });

  /** Nobody but the relay tells the queue: not the door, not the look for lost jobs, and no lease runs out. */
  const RELAY_ONLY = 'dispatch.before-add=throw';
  const NO_SHORTCUT = { LOCAL_RUNS: '0', LOST_AFTER_MS: '600000', ...LONG_LEASE };

  const script = (name: string) =>
    chaos.script(name, [callTool('test_record', { text: name }), answer(`done ${name}`)]);

  const submitted = async (agent: SpawnedService, name: string) =>
    chaos.submitted(agent, name, await script(name));

  /** How often the queue was told of the task. */
  const addsOf = async (taskId: string) =>
    (await chaos.queueEvents(taskId)).filter((event) => ['added', 'duplicated'].includes(event)).length;

  /** Lets `statement` happen whenever a relay takes a row of the outbox for itself. */
  const onRelay = async (timing: 'before' | 'after', statement: string) =>
    chaos.sql(`
      create function agents.on_relay() returns trigger language plpgsql as $$ begin ${statement}; return new; end $$;
      create trigger on_relay ${timing} update on agents.outbox for each row execute function agents.on_relay()`);

  it('13 dies between add and mark: one run', async () => {
    // Its only slot is taken, so that it cannot fetch what it adds: the second batch, which kills it.
    const relay = await chaos.victim(`${RELAY_ONLY};relay.after-add=kill@2`, {
      ...NO_SHORTCUT,
      WORKER_CONCURRENCY: '1',
    });
    const busy = await chaos.script('busy', [callTool('test_hold', { text: 'busy' })]);
    await chaos.submitted(relay, 'busy', busy);
    await eventually(() => chaos.stack.tools.calls['test_hold']!.includes('busy'));
    const taskId = await submitted(relay, 'f13');
    await diedOf(relay);
    expect(await addsOf(taskId)).toBe(1);
    expect(await chaos.outbox()).toEqual([{ task_id: taskId, dispatch_no: 1 }]);
    const survivor = await chaos.victim('', LONG_LEASE);
    const history = await chaos.outcome(chaos.api(survivor), taskId, 'f13');
    expect(faultsOf(history, 'done f13')).toEqual([]);
    expect(await chaos.asked('f13')).toEqual({ 0: 1, 1: 1 });
  });

  /** The relay has taken the task out of the outbox for itself, and the queue was not told. */
  async function diedBeforeAdd(name: string): Promise<string> {
    const relay = await chaos.victim(`${RELAY_ONLY};relay.before-add=kill`, NO_SHORTCUT);
    const taskId = await submitted(relay, name);
    await diedOf(relay);
    expect(await chaos.queueEvents(taskId)).toEqual([]);
    return taskId;
  }

  it('13 dies before add: still in the outbox, one run', async () => {
    const taskId = await diedBeforeAdd('f13b');
    expect(await chaos.outbox()).toEqual([{ task_id: taskId, dispatch_no: 1 }]);
    const survivor = await chaos.victim(RELAY_ONLY, NO_SHORTCUT);
    const history = await chaos.outcome(chaos.api(survivor), taskId, 'f13b');
    expect(faultsOf(history, 'done f13b')).toEqual([]);
    expect(await chaos.asked('f13b')).toEqual({ 0: 1, 1: 1 });
  });

  it('13 control: a relay that marks before it adds loses the task', async () => {
    await onRelay(
      'after',
      'delete from agents.outbox where task_id = new.task_id and dispatch_no = new.dispatch_no',
    );
    const taskId = await diedBeforeAdd('f13c');
    expect(await chaos.outbox()).toEqual([]);
    await chaos.sql('drop function agents.on_relay cascade');
    // Without its look for lost jobs, which would mend this as well.
    const api = chaos.api(await chaos.victim(RELAY_ONLY, NO_SHORTCUT));
    expect(await chaos.faultsWhenLost(api, taskId, 'done f13c', 'f13c')).toEqual(['not ended: pending']);
    await chaos.sql(
      `insert into agents.outbox (task_id, dispatch_no, agent_id, due_at) values ($1, 1, 'agent-test', now())`,
      [taskId],
    );
    expect(faultsOf(await chaos.outcome(api, taskId, 'f13c'), 'done f13c')).toEqual([]);
  });

  /** One relay has taken the task and stops before it tells the queue; another one makes its round; then the first goes on. */
  async function twoRelays(name: string) {
    const first = await chaos.victim(`${RELAY_ONLY};relay.before-add=stop@1`, NO_SHORTCUT);
    const taskId = await submitted(first, name);
    await stopped(first);
    const { rows } = await chaos.sql(
      'select coalesce(held_until > now(), false) as held from agents.outbox where task_id = $1',
      [taskId],
    );
    const second = await chaos.victim(RELAY_ONLY, NO_SHORTCUT);
    await chaos.reconcilerRound();
    const meanwhile = await addsOf(taskId);
    first.kill('SIGCONT');
    const history = await chaos.outcome(chaos.api(second), taskId, name);
    expect(faultsOf(history, `done ${name}`)).toEqual([]);
    return { taskId, rows, meanwhile };
  }

  it('14 two relays: what one has taken the other leaves alone', async () => {
    // However long this takes, the first one's hold does not run out.
    await onRelay(
      'before',
      `if new.held_until > now() then new.held_until = new.held_until + interval '1 hour'; end if`,
    );
    const { taskId, rows, meanwhile } = await twoRelays('f14');
    expect(rows).toEqual([{ held: true }]);
    expect(meanwhile).toBe(0);
    expect(await addsOf(taskId)).toBe(1);
    await eventually(async () => (await chaos.outbox()).length === 0);
    expect(await chaos.asked('f14')).toEqual({ 0: 1, 1: 1 });
  });

  it('14 control: without the hold both tell the queue; the claim still makes it one run', async () => {
    await onRelay('before', 'new.held_until = old.held_until');
    const { taskId, rows, meanwhile } = await twoRelays('f14c');
    expect(rows).toEqual([{ held: false }]);
    expect(meanwhile).toBeGreaterThan(0);
    await eventually(
      () => addsOf(taskId),
      (adds) => adds > meanwhile,
      { what: 'a second dispatch' },
    );
    await eventually(async () => (await chaos.keysOf(taskId)).length === 0, Boolean, { what: 'no job left' });
    expect(await chaos.asked('f14c')).toEqual({ 0: 1, 1: 1 });
  });

  it('a job that fails before its task is claimed is dispatched again, and nothing of it stays in Redis', async () => {
    const agent = await chaos.victim('worker.before-claim=throw@1', { LOCAL_RUNS: '0', ...LONG_LEASE });
    const taskId = await submitted(agent, 'failed-job');
    const history = await chaos.outcome(chaos.api(agent), taskId, 'failed-job');
    expect(await chaos.queueEvents(taskId)).toContain('failed');
    expect(faultsOf(history, 'done failed-job')).toEqual([]);
    await eventually(async () => (await chaos.keysOf(taskId)).length === 0);
  });

  it('control: a failed job that stays in Redis hides that its task is lost', async () => {
    const door = await chaos.victim('intake.after-commit=kill');
    const taskId = await submitted(door, 'kept');
    await diedOf(door);
    // The job as it would be without `removeOnFail`.
    const job = await queue.add('run', { taskId }, { jobId: `${taskId}-1`, removeOnFail: false });
    const failing = await chaos.victim('worker.before-claim=throw', { LOCAL_RUNS: '0' });
    await eventually(() => job.isFailed(), Boolean, { what: 'the failed job' });
    // The jobs of this one are removed: the look that found it lost has looked for the older one before it.
    const other = await submitted(failing, 'removed');
    await eventually(async () => (await chaos.dispatchNo(other)) > 1, Boolean, {
      what: 'a look for lost jobs',
    });
    await chaos.killVictims();
    const api = chaos.api(await chaos.victim('', LONG_LEASE));
    expect(faultsOf(await chaos.outcome(api, other, 'removed'), 'done removed')).toEqual([]);
    expect(await chaos.faultsWhenLost(api, taskId, 'done kept', 'kept')).toEqual(['not ended: pending']);
    await job.remove();
    expect(faultsOf(await chaos.outcome(api, taskId, 'kept'), 'done kept')).toEqual([]);
  });
});
