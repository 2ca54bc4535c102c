import type { BatonError } from '#libs/contracts';
import {
  AGENT_ID,
  finishOf,
  LEASE_MS,
  newTask,
  openStore,
  type Process,
  type Store,
} from '../agent.fixture.js';

jest.setTimeout(60_000);

let store: Store;
let here: Process;
let elsewhere: Process;
beforeAll(async () => {
  store = await openStore();
  ({ here, elsewhere } = store);
});
afterAll(() => store.stop());

const count = async (table: string, where: string, ...values: unknown[]) => {
  const { rows } = await store.sql.query<{ n: number }>(
    `select count(*)::int as n from ${table} where ${where}`,
    values,
  );
  return rows[0]!.n;
};
const ended = async (id: string) => {
  await here.runs.claim(id, LEASE_MS);
  await here.runs.finish(finishOf(id, 1));
};

describe('an acceptance', () => {
  it('writes the task and its dispatch together', async () => {
    const task = newTask();
    expect(await here.tasks.accept(task)).toEqual({
      id: task.id,
      tenant: 'acme',
      requestHash: 'hash',
      status: 'pending',
      created: true,
    });
    expect(await count('agents.tasks', 'id = $1', task.id)).toBe(1);
    expect(await count('agents.outbox', 'task_id = $1 and dispatch_no = 1', task.id)).toBe(1);
  });

  it('with one key a hundred times at once, in many batches of two processes, is one task', async () => {
    const key = 'the-same';
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        // Spread over the event loop, so that they do not all land in one statement.
        await new Promise((resolve) => setTimeout(resolve, i % 10));
        return (i % 2 ? here : elsewhere).tasks.accept(newTask({ idempotencyKey: key }));
      }),
    );
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    expect(answers.filter(({ created }) => created)).toHaveLength(1);
    expect(await count('agents.tasks', 'idempotency_key = $1', key)).toBe(1);
    expect(await count('agents.outbox', 'task_id = $1', answers[0]!.id)).toBe(1);
  });

  it('with a known key names the task that has it, in its present state', async () => {
    const first = newTask({ idempotencyKey: 'known', requestHash: 'first' });
    await here.tasks.accept(first);
    await ended(first.id);
    expect(await elsewhere.tasks.accept(newTask({ idempotencyKey: 'known', requestHash: 'second' }))).toEqual(
      {
        id: first.id,
        tenant: 'acme',
        requestHash: 'first',
        status: 'completed',
        created: false,
      },
    );
  });

  it('shares keys with no other tenant, and tasks without a key with nobody', async () => {
    const key = 'per-tenant';
    const tasks = [
      newTask({ idempotencyKey: key }),
      newTask({ idempotencyKey: key, tenant: 'other' }),
      newTask(),
      newTask(),
    ];
    const answers = await Promise.all(tasks.map((task) => here.tasks.accept(task)));
    expect(answers.map(({ id, created }) => [id, created])).toEqual(tasks.map(({ id }) => [id, true]));
  });

  it('that the table refuses harms none that share its statement', async () => {
    const good = [newTask(), newTask()];
    const bad = newTask({ prompt: 'a\0b' });
    const answers = await Promise.allSettled(
      [good[0]!, bad, good[1]!].map((task) => here.tasks.accept(task)),
    );
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(
      await count(
        'agents.tasks',
        'id = any($1::uuid[])',
        [...good, bad].map(({ id }) => id),
      ),
    ).toBe(2);
  });
});

describe('who may see a task', () => {
  it.each([
    ['its user', {}, true],
    ["its tenant's service", { userId: null }, true],
    ['another user of the tenant', { userId: 'eve' }, false],
    ['another tenant', { tenant: 'other' }, false],
    ["another tenant's service", { tenant: 'other', userId: null }, false],
    ['another agent', { agentId: 'agent-y' }, false],
  ])('%s', async (_, scope, visible) => {
    const task = newTask();
    await here.tasks.accept(task);
    const found = await here.tasks.require(task.id, { ...store.scope, ...scope }).then(
      ({ task_id }) => task_id,
      ({ code }: BatonError) => code,
    );
    expect(found).toBe(visible ? task.id : 'task-not-found');
    const { tasks } = await here.tasks.list(
      { ...store.scope, ...scope },
      { limit: 100, sessionId: task.sessionId },
    );
    expect(tasks.map(({ task_id }) => task_id)).toEqual(visible ? [task.id] : []);
  });
});

describe('the list', () => {
  it('has every task once over its pages, newest first', async () => {
    const scope = { ...store.scope, tenant: 'lister' };
    const ids: string[] = [];
    for (let i = 0; i < 7; i += 1) {
      const task = newTask({ tenant: 'lister' });
      await here.tasks.accept(task);
      ids.unshift(task.id);
    }
    const seen: string[] = [];
    let before: string | undefined;
    const sizes: number[] = [];
    do {
      const page = await here.tasks.list(scope, { limit: 3, before });
      seen.push(...page.tasks.map(({ task_id }) => task_id));
      sizes.push(page.tasks.length);
      before = page.next ?? undefined;
    } while (before);
    expect(seen).toEqual(ids);
    expect(sizes).toEqual([3, 3, 1]);
  });

  it('of a full last page has no next one', async () => {
    const { tasks, next } = await here.tasks.list({ ...store.scope, tenant: 'lister' }, { limit: 7 });
    expect([tasks.length, next]).toEqual([7, null]);
  });

  it('knows status and session', async () => {
    const scope = { ...store.scope, tenant: 'filter' };
    const done = newTask({ tenant: 'filter', sessionId: 'a' });
    const waiting = newTask({ tenant: 'filter', sessionId: 'b' });
    for (const task of [done, waiting]) await here.tasks.accept(task);
    await ended(done.id);
    const ids = async (filter: object) =>
      (await here.tasks.list(scope, { limit: 10, ...filter })).tasks.map(({ task_id }) => task_id);
    expect(await ids({ status: 'completed' })).toEqual([done.id]);
    expect(await ids({ status: 'pending' })).toEqual([waiting.id]);
    expect(await ids({ sessionId: 'b' })).toEqual([waiting.id]);
    expect(await ids({ sessionId: 'b', status: 'completed' })).toEqual([]);
  });
});

describe('the cancel flag', () => {
  it('is raised on what has not ended, and tells whether a live worker has it', async () => {
    const task = newTask();
    await here.tasks.accept(task);
    expect(await here.tasks.requestCancel(task.id)).toEqual({ held: false });
    await here.runs.claim(task.id, LEASE_MS);
    expect(await here.tasks.requestCancel(task.id)).toEqual({ held: true });
    await store.expire(task.id);
    expect(await here.tasks.requestCancel(task.id)).toEqual({ held: false });
    expect(await here.tasks.require(task.id, store.scope)).toMatchObject({ cancel_requested: true });
  });

  it('is not raised on what has ended', async () => {
    const task = newTask();
    await here.tasks.accept(task);
    await ended(task.id);
    expect(await here.tasks.requestCancel(task.id)).toBeNull();
    expect(await here.tasks.require(task.id, store.scope)).toMatchObject({ cancel_requested: false });
  });
});

describe('waiting tasks', () => {
  it('are counted by tenant; running and ended ones are not', async () => {
    const tasks = Array.from({ length: 4 }, () => newTask({ agentId: 'agent-backlog', tenant: 'busy' }));
    for (const task of tasks) await here.tasks.accept(task);
    await here.tasks.accept(newTask({ agentId: 'agent-backlog', tenant: 'calm' }));
    await here.runs.claim(tasks[0]!.id, LEASE_MS);
    await ended(tasks[1]!.id);
    expect(await here.tasks.backlog('agent-backlog')).toEqual(
      new Map([
        ['busy', 2],
        ['calm', 1],
      ]),
    );
  });
});

describe('retention', () => {
  it('deletes what ended before it with its journal, and nothing else', async () => {
    const old = newTask();
    const recent = newTask();
    const waiting = newTask();
    for (const task of [old, recent, waiting]) await here.tasks.accept(task);
    for (const { id } of [old, recent]) await ended(id);
    const age = (id: string) =>
      store.sql.query(
        `update agents.tasks set created_at = created_at - interval '40 days', finished_at = finished_at - interval '31 days' where id = $1`,
        [id],
      );
    await age(old.id);
    await age(waiting.id);
    expect(await here.tasks.prune(AGENT_ID, 30, 100)).toBe(1);
    const ids = [old.id, recent.id, waiting.id];
    expect(await count('agents.tasks', 'id = any($1::uuid[])', ids)).toBe(2);
    await expect(here.tasks.require(old.id, store.scope)).rejects.toMatchObject({ status: 404 });
    expect(await count('agents.journal', 'task_id = $1', old.id)).toBe(0);
    expect(await count('agents.journal', 'task_id = $1', recent.id)).toBe(2);
  });

  it('deletes a bounded number at once', async () => {
    const tasks = Array.from({ length: 5 }, () => newTask({ agentId: 'agent-old' }));
    for (const { id } of await Promise.all(tasks.map((task) => here.tasks.accept(task)))) await ended(id);
    await store.sql.query(
      `update agents.tasks set finished_at = now() - interval '31 days' where agent_id = 'agent-old'`,
    );
    expect([await here.tasks.prune('agent-old', 30, 3), await here.tasks.prune('agent-old', 30, 3)]).toEqual([
      3, 2,
    ]);
  });
});
