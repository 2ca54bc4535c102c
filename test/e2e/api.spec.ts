import type { JournalEntry } from '#libs/contracts';
import type { SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, TestStack, type SseEvent, type TaskApi } from '#libs/testing';

jest.setTimeout(120_000);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const unique = (() => {
  let count = 0;
  return (name: string) => `${name}-${(count += 1)}`;
})();

let stack: TestStack;
let agent: SpawnedService;
let gateway: SpawnedService;
/** A task slower than `POST /run` waits, begun first because it takes so long. */
let slowRun: ReturnType<TaskApi['run']>;

beforeAll(async () => {
  stack = await TestStack.start();
  agent = await stack.spawnAgent();
  gateway = await stack.spawnGateway({ 'agent-test': agent.grpcUrl });
  const slow = await stack.scenario({ name: 'slow', steps: [{ ...answer('at last'), latency_ms: 33_000 }] });
  slowRun = stack.apiThrough(gateway, 'agent-test').run({ prompt: slow });
});
afterAll(() => stack?.stop());

/** A script that answers `text` at once. */
const answering = (text: string) => stack.scenario({ name: unique('answers'), steps: [answer(text)] });
/** A script whose task stays in a tool until `stack.tools.release(name)`. */
const holding = async () => {
  const name = unique('holds');
  return {
    name,
    prompt: await stack.scenario({ name, steps: [callTool('test_hold', { text: name }), answer('held')] }),
  };
};
const held = (name: string) => eventually(() => stack.tools.calls['test_hold']!.includes(name));

it('a client that leaves before its answer is logged as no error, at the gateway and at the registry', async () => {
  const registry = await stack.spawnRegistry({ LOG_LEVEL: 'debug' });
  const own = await stack.spawnAgent({ TOOL_REGISTRY_URL: registry.url });
  const watched = await stack.spawnGateway({ 'agent-test': own.grpcUrl }, { LOG_LEVEL: 'debug' });
  const noticed = (service: SpawnedService) =>
    eventually(() => service.output().includes('the client left before its answer'));
  const { name, prompt } = await holding();
  const leaving = new AbortController();
  const left = fetch(`${watched.url}/v1/agents/test/run`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.token()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ prompt }),
    signal: leaving.signal,
  });
  await held(name);
  leaving.abort();
  await expect(left).rejects.toThrow('aborted');
  await noticed(watched);
  const api = stack.api(own);
  const task = (await api.list()).body.tasks.find(({ status }) => status === 'running')!;
  expect((await api.cancel(task.task_id)).body.status).toBe('cancelled');
  await noticed(registry);
  for (const service of [watched, own, registry]) expect(service.output()).not.toContain('"level":50');
});

describe.each([
  ['at the agent', '', (person?: object) => stack.api(agent, person)],
  ['through the gateway', '/v1', (person?: object) => stack.apiThrough(gateway, 'agent-test', person)],
])('the task API %s', (_, prefix, open) => {
  let api: TaskApi;
  beforeAll(() => (api = open()));

  describe('POST /run', () => {
    it('answers 200 with the result of a task that ends in time', async () => {
      const prompt = await stack.scenario({
        name: unique('run'),
        steps: [{ ...callTool('test_echo', { text: 'x' }), latency_ms: 300 }, answer('done')],
      });
      const { status, headers, body } = await api.run({ prompt });
      expect(status).toBe(200);
      expect(headers.get('location')).toBe(`${prefix}/tasks/${body.task_id}`);
      expect(body).toMatchObject({
        task_id: expect.stringMatching(UUID),
        status: 'completed',
        output: 'done',
        error: null,
        error_detail: null,
        steps_used: 2,
        tool_calls: 1,
        agent_id: 'agent-test',
        session_id: body.task_id,
        cancel_requested: false,
      });
      expect(body.tokens_used).toBeGreaterThan(0);
      expect(body.duration_ms).toBeGreaterThanOrEqual(300);
    });

    it('takes the user from the token', async () => {
      const text = unique('who');
      const prompt = await stack.scenario({
        name: text,
        steps: [callTool('test_record', { text }), answer('ok')],
      });
      await open({ userId: 'user-ada', tenant: 'acme' }).run({ prompt });
      expect(stack.tools.effects.find((effect) => effect.text === text)).toMatchObject({
        tenant: 'acme',
        userId: 'user-ada',
      });
    });
  });

  describe('POST /tasks', () => {
    it('answers 202 with the place where the task is', async () => {
      const { status, headers, body } = await api.submit({ prompt: await answering('there') });
      expect(status).toBe(202);
      expect(body).toEqual({ task_id: expect.stringMatching(UUID), status: 'pending' });
      const location = headers.get('location');
      expect(location).toBe(`${prefix}/tasks/${body.task_id}`);
      expect(await api.ended(body.task_id)).toMatchObject({ status: 'completed', output: 'there' });
    });

    it('takes every field', async () => {
      const body = {
        prompt: await answering('all'),
        session_id: 'A.b_c@d-1',
        metadata: { source: 'test', half: '\ud800' },
        max_steps: 25,
        token_budget: 32_768,
      };
      expect(await api.ended(await api.accepted(body))).toMatchObject({
        status: 'completed',
        session_id: 'A.b_c@d-1',
      });
    });
  });

  describe('an Idempotency-Key', () => {
    it('with the same body names the same task, while it runs and when it has ended', async () => {
      const { name, prompt } = await holding();
      const key = { 'idempotency-key': unique('key') };
      const id = await api.accepted({ prompt }, key);
      expect(await api.accepted({ prompt }, key)).toBe(id);
      stack.tools.release(name);
      await api.ended(id);
      expect((await api.submit({ prompt }, key)).body).toEqual({ task_id: id, status: 'completed' });
      expect(await api.run({ prompt }, key)).toMatchObject({
        status: 200,
        body: { task_id: id, output: 'held' },
      });
      expect(stack.tools.calls['test_hold']!.filter((text) => text === name)).toHaveLength(1);
    });

    it('with another body, or of another user, is refused', async () => {
      const prompt = await answering('once');
      const key = { 'idempotency-key': unique('key') };
      const id = await api.accepted({ prompt }, key);
      for (const other of [
        { prompt: `${prompt}!` },
        { prompt, max_steps: 3 },
        { prompt, session_id: 's' },
        { prompt, metadata: { a: 'b' } },
      ])
        expect(await api.submit(other, key)).toMatchObject({
          status: 422,
          body: { code: 'idempotency-key-reused' },
        });
      const { status, body } = await open({ userId: 'user-eve' }).submit({ prompt }, key);
      expect(status).toBe(422);
      expect(JSON.stringify(body)).not.toContain(id);
    });

    it('is another one in another tenant', async () => {
      const prompt = await answering('mine');
      const key = { 'idempotency-key': unique('key') };
      const other = await open({ tenant: 'other' }).accepted({ prompt }, key);
      expect(await api.accepted({ prompt }, key)).not.toBe(other);
    });
  });

  describe('GET /tasks/{id}', () => {
    it('shows what a running task has used so far', async () => {
      const { name, prompt } = await holding();
      const id = await api.accepted({ prompt });
      await held(name);
      const { body } = await api.get(id);
      expect(body).toMatchObject({
        status: 'running',
        output: null,
        steps_used: 1,
        tool_calls: 0,
        finished_at: null,
      });
      expect(body.tokens_used).toBeGreaterThan(0);
      stack.tools.release(name);
      expect(await api.ended(id)).toMatchObject({ status: 'completed', steps_used: 2, tool_calls: 1 });
    });

    it('finds nothing of another tenant or user, whatever is asked', async () => {
      const id = await api.accepted({ prompt: await answering('secret') });
      await api.ended(id);
      for (const person of [{ tenant: 'other' }, { userId: 'user-eve' }]) {
        const stranger = open(person);
        expect(await stranger.get(id)).toMatchObject({ status: 404, body: { code: 'task-not-found' } });
        expect(await stranger.cancel(id)).toMatchObject({ status: 404 });
        await expect(stranger.events(id).next()).rejects.toThrow('404');
        expect(JSON.stringify(await stranger.list())).not.toContain(id);
      }
    });
  });

  describe('GET /tasks', () => {
    const person = { tenant: unique('lister') };

    it('pages through all tasks, newest first, by status and session', async () => {
      const own = open(person);
      const prompt = await answering('listed');
      const ids: string[] = [];
      for (const session_id of ['a', 'b', 'a', 'b', 'a'])
        ids.unshift(await own.accepted({ prompt, session_id }));
      for (const id of ids) await own.ended(id);
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const { status, body } = await own.list({ limit: '2', ...(cursor ? { cursor } : {}) });
        expect(status).toBe(200);
        seen.push(...body.tasks.map(({ task_id }) => task_id));
        cursor = body.next_cursor;
      } while (cursor);
      expect(seen).toEqual(ids);
      const idsOf = async (query: Record<string, string>) =>
        (await own.list(query)).body.tasks.map(({ task_id }) => task_id);
      expect(await idsOf({ session_id: 'b' })).toEqual([ids[1], ids[3]]);
      expect(await idsOf({ status: 'completed' })).toEqual(ids);
      expect(await idsOf({ status: 'failed' })).toEqual([]);
    });
  });

  describe('GET /tasks/{id}/events', () => {
    const read = async (events: AsyncIterable<SseEvent>) => {
      const all: SseEvent[] = [];
      for await (const event of events) all.push(event);
      return all;
    };
    const entriesOf = (events: SseEvent[]) => events.filter(({ id }) => id !== undefined);
    const ids = (events: SseEvent[]) => entriesOf(events).map(({ id }) => Number(id));

    it('has every journal entry with its sequence as id, resumes from each, and ends with the end', async () => {
      const prompt = await stack.scenario({
        name: unique('journal'),
        steps: [callTool('test_echo', { text: 'a' }), callTool('test_fail', { text: 'b' }), answer('done')],
      });
      const id = await api.accepted({ prompt });
      await api.ended(id);
      const all = await read(api.events(id));
      expect(all.map(({ event }) => event)).toEqual(['model', 'tools', 'model', 'tools', 'model', 'finish']);
      expect(ids(all)).toEqual([1, 2, 3, 4, 5, 6]);
      for (const event of all) expect((event.data as JournalEntry).seq).toBe(Number(event.id));
      expect(all.at(-1)!.data.body.result).toMatchObject({
        task_id: id,
        status: 'completed',
        output: 'done',
      });
      for (let after = 0; after <= 5; after += 1)
        expect(await read(api.events(id, { after }))).toEqual(all.slice(after));
      // From the end and from beyond it, the end comes again.
      for (const after of [6, 7, 1_000_000])
        expect(await read(api.events(id, { after }))).toEqual(all.slice(5));
    });

    it("streams entries and the model's words as they come", async () => {
      const text = 'one two three four five six seven eight nine ten';
      const { name, prompt } = await holding();
      await stack.scenario({
        name,
        steps: [
          callTool('test_hold', { text: name }),
          { ...answer(text), chunk_chars: 5, chunk_delay_ms: 60 },
        ],
      });
      const id = await api.accepted({ prompt });
      const seen: SseEvent[] = [];
      const reading = (async () => {
        for await (const event of api.events(id)) seen.push(event);
      })();
      // The model's call is there before its result: nothing is buffered on the way.
      await eventually(() => ids(seen).includes(1));
      await held(name);
      expect(seen.map(({ event }) => event)).not.toContain('finish');
      stack.tools.release(name);
      await reading;
      const deltas = seen.filter(({ event }) => event === 'delta');
      expect(deltas.length).toBeGreaterThan(1);
      for (const delta of deltas) expect(delta.id).toBeUndefined();
      const words = deltas.map(({ data }) => (data as { text: string }).text).join('');
      expect(text).toContain(words);
      expect(ids(seen)).toEqual([1, 2, 3, 4]);
      expect(seen.at(-1)!.event).toBe('finish');
    });

    it('interrupted anywhere goes on without gap or repeat', async () => {
      const { name, prompt } = await holding();
      const id = await api.accepted({ prompt });
      const cut = new AbortController();
      const before: SseEvent[] = [];
      const reading = (async () => {
        for await (const event of api.events(id, { signal: cut.signal })) before.push(event);
      })().catch(() => undefined);
      await eventually(() => ids(before).includes(1));
      cut.abort();
      await reading;
      stack.tools.release(name);
      const rest = await read(
        api.events(id, { after: before.findLast((event) => event.id !== undefined)!.id }),
      );
      expect([...ids(before), ...ids(rest)]).toEqual([1, 2, 3, 4]);
    });
  });

  describe('POST /tasks/{id}/cancel', () => {
    it('of a waiting task answers 200, and it never begins', async () => {
      const { name, prompt } = await holding();
      const session_id = unique('session');
      const first = await api.accepted({ prompt, session_id });
      await held(name);
      const scenario = unique('never');
      const second = await api.accepted({
        prompt: await stack.scenario({ name: scenario, steps: [answer('x')] }),
        session_id,
      });
      expect(await api.cancel(second)).toMatchObject({
        status: 200,
        body: { status: 'cancelled', error: 'cancelled', steps_used: 0 },
      });
      stack.tools.release(name);
      await api.ended(first);
      expect(await stack.scenarioCounts(scenario)).toMatchObject({ requests: 0 });
    });

    it('of a task that waits for its model aborts that call', async () => {
      const name = unique('hangs');
      const id = await api.accepted({ prompt: await stack.scenario({ name, steps: [{ hang: true }] }) });
      await eventually(async () => (await stack.scenarioCounts(name)).in_flight === 1);
      expect(await api.cancel(id)).toMatchObject({ status: 200, body: { status: 'cancelled' } });
      const counts = await eventually(
        () => stack.scenarioCounts(name),
        ({ in_flight }) => in_flight === 0,
      );
      expect(counts).toMatchObject({ requests: 1, aborted: 1 });
      expect((await api.journal(id)).map(({ body }) => body.kind)).toEqual(['finish']);
    });

    it('of a task that waits for a tool aborts that call, and keeps what it had', async () => {
      const name = unique('holds');
      const steps = [{ content: 'so far', ...callTool('test_hold', { text: name }) }, answer('never')];
      const id = await api.accepted({ prompt: await stack.scenario({ name, steps }) });
      await held(name);
      expect(await api.cancel(id)).toMatchObject({
        status: 200,
        body: { status: 'cancelled', output: 'so far', steps_used: 1 },
      });
      await eventually(() => stack.tools.aborted.includes(name));
      expect(await stack.scenarioCounts(name)).toMatchObject({ requests: 1 });
    });

    it('again says the same; of a finished task is 409', async () => {
      const { prompt } = await holding();
      const id = await api.accepted({ prompt });
      expect((await api.cancel(id)).status).toBe(200);
      expect(await api.cancel(id)).toMatchObject({ status: 200, body: { status: 'cancelled' } });
      const done = await api.accepted({ prompt: await answering('done') });
      await api.ended(done);
      expect(await api.cancel(done)).toMatchObject({ status: 409, body: { code: 'task-finished' } });
    });
  });

  it('tasks of one session run one after the other, in order', async () => {
    const scripts = [await holding(), await holding(), await holding()];
    const session_id = unique('session');
    const ids: string[] = [];
    for (const { prompt } of scripts) ids.push(await api.accepted({ prompt, session_id }));
    for (const [i, { name }] of scripts.entries()) {
      await held(name);
      const states = await Promise.all(ids.map(async (id) => (await api.get(id)).body.status));
      expect(states).toEqual(ids.map((__, j) => (j < i ? 'completed' : j === i ? 'running' : 'pending')));
      stack.tools.release(name);
      await api.ended(ids[i]!);
    }
    const views = await Promise.all(ids.map((id) => api.ended(id)));
    for (const [i, view] of views.slice(1).entries())
      expect(Date.parse(view.started_at!)).toBeGreaterThanOrEqual(Date.parse(views[i]!.finished_at!));
  });
});

it('POST /run answers 202 when the task takes longer than 30 s, and the task goes on', async () => {
  const { status, headers, body } = await slowRun;
  expect(status).toBe(202);
  expect(body).toMatchObject({ status: 'running', output: null });
  expect(headers.get('location')).toBe(`/v1/tasks/${body.task_id}`);
  expect(await stack.api(agent).ended(body.task_id)).toMatchObject({
    status: 'completed',
    output: 'at last',
  });
});
