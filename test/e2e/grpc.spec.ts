import { randomUUID } from 'node:crypto';
import { connect, createServer, type AddressInfo } from 'node:net';
import pg from 'pg';
import type { BatonError, JournalEntry, agentsV1 } from '#libs/contracts';
import { startPostgres, stopProcess, type SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, forgedTokens, GrpcApi, TestStack } from '#libs/testing';

jest.setTimeout(180_000);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const unique = (() => {
  let count = 0;
  return (name: string) => `${name}-${(count += 1)}`;
})();

let stack: TestStack;
let agent: SpawnedService;
let api: GrpcApi;
beforeAll(async () => {
  stack = await TestStack.start();
  agent = await stack.spawnAgent();
  api = stack.grpc(agent);
});
afterAll(() => stack?.stop());

const answering = (text: string) => stack.scenario({ name: unique('answers'), steps: [answer(text)] });
/** A script whose task stays in a tool until `stack.tools.release(name)`. */
const holding = async () => {
  const name = unique('holds');
  const steps = [callTool('test_hold', { text: name }), answer('held')];
  return { name, prompt: await stack.scenario({ name, steps }) };
};
const held = (name: string) => eventually(() => stack.tools.calls['test_hold']!.includes(name));
const ended = (taskId: string, by = api) =>
  eventually(
    () => by.get(taskId),
    ({ finished_at }) => finished_at !== undefined,
  );
const read = async (steps: AsyncIterable<agentsV1.StepEvent>) => {
  const all: agentsV1.StepEvent[] = [];
  for await (const step of steps) all.push(step);
  return all;
};
const journalled = (steps: agentsV1.StepEvent[]) => steps.filter(({ sequence }) => sequence > 0);
const refused = (call: Promise<unknown>): Promise<BatonError> =>
  call.then(
    (value) => Promise.reject(new Error(`not refused: ${JSON.stringify(value)}`)),
    (error: BatonError) => error,
  );
const allRefused = (calls: Array<Promise<unknown>>) => Promise.all(calls.map((call) => refused(call)));
const fieldsOf = ({ errors = [] }: BatonError) => [...new Set(errors.map(({ field }) => field))].toSorted();

describe('RunTask', () => {
  it('answers with the result, the same as the REST door shows', async () => {
    const steps = [callTool('test_echo', { text: 'x' }), answer('done')];
    const result = await api.run({ prompt: await stack.scenario({ name: unique('run'), steps }) });
    expect(result).toMatchObject({
      task_id: expect.stringMatching(UUID),
      status: 'completed',
      output: 'done',
      steps_used: 2,
      tool_calls: 1,
      agent_id: 'agent-test',
      session_id: result.task_id,
      cancel_requested: false,
    });
    expect(result.error).toBeUndefined();
    const { body } = await stack.api(agent).get(result.task_id);
    const { error, error_detail, ...rest } = body;
    expect([error, error_detail]).toEqual([null, null]);
    expect(result).toEqual(rest);
  });

  it('takes tenant and user from the token, and every field', async () => {
    const text = unique('who');
    const prompt = await stack.scenario({
      name: text,
      steps: [callTool('test_record', { text }), answer('ok')],
    });
    const ada = stack.grpc(agent, { tenant: 'acme', userId: 'user-ada' });
    const task_id = randomUUID();
    const result = await ada.run({
      task_id: task_id.toUpperCase(),
      prompt,
      session_id: 'A.b_c@d-1',
      metadata: { source: 'test' },
      max_steps: 25,
      token_budget: 32_768,
      idempotency_key: 'key',
    });
    expect(result).toMatchObject({ task_id, status: 'completed', session_id: 'A.b_c@d-1' });
    expect(stack.tools.effects.find((effect) => effect.text === text)).toMatchObject({
      tenant: 'acme',
      userId: 'user-ada',
    });
  });

  it('whose deadline passes cancels the task that it created (fault 47)', async () => {
    const { name, prompt } = await holding();
    const task_id = randomUUID();
    const failure = refused(api.run({ task_id, prompt }, { timeoutMs: 3000 }));
    await held(name);
    expect(await failure).toMatchObject({ code: 'timeout', status: 504 });
    expect(await ended(task_id)).toMatchObject({ status: 'cancelled', error: 'cancelled' });
    await eventually(() => stack.tools.aborted.includes(name));
  });

  it('passes its deadline on to the task', async () => {
    const task_id = randomUUID();
    await api.run({ task_id, prompt: await answering('x') }, { timeoutMs: 50_000 });
    const leftMs = await query<{ ms: number }>(
      'select extract(epoch from deadline - created_at)::float8 * 1000 as ms from agents.tasks where id = $1',
      [task_id],
    );
    expect(leftMs!.ms).toBeGreaterThan(40_000);
    expect(leftMs!.ms).toBeLessThanOrEqual(51_100);
  });

  it('whose client cancels cancels the task that it created', async () => {
    const { name, prompt } = await holding();
    const task_id = randomUUID();
    const left = new AbortController();
    const failure = refused(api.run({ task_id, prompt }, { signal: left.signal }));
    await held(name);
    left.abort(new Error('changed my mind'));
    expect(await failure).toMatchObject({ message: 'changed my mind' });
    expect(await ended(task_id)).toMatchObject({ status: 'cancelled' });
    await eventually(() => stack.tools.aborted.includes(name));
  });

  it('that found a task of somebody else leaves it alone', async () => {
    const { name, prompt } = await holding();
    const request = { prompt, idempotency_key: unique('key') };
    const { task_id } = await api.submit(request);
    await held(name);
    expect(await refused(api.run(request, { timeoutMs: 1500 }))).toMatchObject({ code: 'timeout' });
    expect((await api.get(task_id)).status).toBe('running');
    stack.tools.release(name);
    expect(await api.run(request)).toMatchObject({ task_id, status: 'completed', output: 'held' });
  });

  it("without a deadline ends at the server's cap, and cancels its task", async () => {
    const strict = await stack.spawnAgent({ GRPC_CALL_MS: '1500' });
    const { prompt } = await holding();
    const task_id = randomUUID();
    const uncapped = stack.grpc(strict);
    expect(await refused(uncapped.run({ task_id, prompt }, { timeoutMs: Infinity }))).toMatchObject({
      code: 'timeout',
      message: expect.stringContaining('named no deadline') as string,
    });
    expect(await ended(task_id)).toMatchObject({ status: 'cancelled' });
    await strict.stop();
  });
});

describe('SubmitTask', () => {
  it('answers at once, and the task outlives its call', async () => {
    const { name, prompt } = await holding();
    const { task_id, status } = await api.submit({ prompt });
    expect(status).toBe('pending');
    await held(name);
    expect(await api.get(task_id)).toMatchObject({ status: 'running', steps_used: 1 });
    stack.tools.release(name);
    expect(await ended(task_id)).toMatchObject({ status: 'completed', output: 'held' });
  });

  it('waits as long as it is told to, and a client that leaves meanwhile changes nothing', async () => {
    const { name, prompt } = await holding();
    const request = { prompt, task_id: randomUUID() };
    expect(await api.submit({ ...request, wait_ms: 300 })).toMatchObject({
      status: expect.stringMatching(/pending|running/),
    });
    const left = new AbortController();
    const waiting = refused(api.submit({ ...request, wait_ms: 30_000 }, { signal: left.signal }));
    await held(name);
    left.abort(new Error('gone'));
    await waiting;
    stack.tools.release(name);
    expect(await api.submit({ ...request, wait_ms: 30_000 })).toMatchObject({
      status: 'completed',
      output: 'held',
    });
  });

  it('with the same id or key is the same task, with another request it is refused', async () => {
    const prompt = await answering('once');
    const named = { prompt, task_id: randomUUID() };
    const keyed = { prompt, idempotency_key: unique('key') };
    expect((await api.submit(named)).task_id).toBe(named.task_id);
    expect((await api.submit(named)).task_id).toBe(named.task_id);
    const { task_id } = await api.submit(keyed);
    expect((await api.submit(keyed)).task_id).toBe(task_id);
    for (const request of [named, keyed])
      expect(await refused(api.submit({ ...request, max_steps: 3 }))).toMatchObject({
        code: 'idempotency-key-reused',
        status: 422,
      });
    const stranger = stack.grpc(agent, { tenant: 'other' });
    expect(await refused(stranger.submit(named))).toMatchObject({ code: 'task-id-taken', status: 409 });
  });

  it('keeps the trace of its caller', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const { task_id } = await api.submit({ prompt: await answering('x') }, { metadata: { traceparent } });
    const row = await query<{ traceparent: string }>('select traceparent from agents.tasks where id = $1', [
      task_id,
    ]);
    expect(row).toEqual({ traceparent });
  });
});

describe('StreamSteps', () => {
  const journey = async () => {
    const name = unique('journey');
    const steps = [
      callTool('test_echo', { text: 'a' }),
      callTool('test_fail', { text: 'b' }),
      answer('done'),
    ];
    return stack.scenario({ name, steps });
  };

  it('has every entry with its sequence and its step, as the SSE stream has it, and resumes after each', async () => {
    const { task_id } = await api.run({ prompt: await journey() });
    const all = await read(api.steps({ task_id }));
    expect(all.map(({ sequence, type, step_number: step }) => [sequence, type, step])).toEqual([
      [1, 'llm_call', 1],
      [2, 'tool_result', 1],
      [3, 'llm_call', 2],
      [4, 'tool_result', 2],
      [5, 'llm_call', 3],
      [6, 'finish', 3],
    ]);
    expect(all.map(({ content }) => content)).toEqual([
      '',
      'test_echo: ok',
      '',
      'test_fail: test_failed',
      'done',
      'done',
    ]);
    const entries: JournalEntry[] = await stack.api(agent).journal(task_id);
    expect(all.map(({ entry_json }) => JSON.parse(entry_json) as unknown)).toEqual(entries);
    for (let after = 0; after <= 5; after += 1)
      expect(await read(api.steps({ task_id, after_sequence: after }))).toEqual(all.slice(after));
    // From the end and from beyond it, the end comes again.
    for (const after of [6, 7, 1_000_000])
      expect(await read(api.steps({ task_id, after_sequence: after }))).toEqual(all.slice(5));
  });

  it('submits what has a prompt, and streams it as it comes', async () => {
    const { name } = await holding();
    const text = 'one two three four five six seven eight nine ten';
    const prompt = await stack.scenario({
      name,
      steps: [callTool('test_hold', { text: name }), { ...answer(text), chunk_chars: 5, chunk_delay_ms: 60 }],
    });
    const seen: agentsV1.StepEvent[] = [];
    const reading = (async () => {
      for await (const step of api.steps({ prompt })) seen.push(step);
    })();
    await eventually(() => journalled(seen).length === 1);
    await held(name);
    stack.tools.release(name);
    await reading;
    expect(journalled(seen).map(({ type }) => type)).toEqual([
      'llm_call',
      'tool_result',
      'llm_call',
      'finish',
    ]);
    const words = seen.filter(({ type }) => type === 'delta');
    expect(words.length).toBeGreaterThan(1);
    for (const { sequence } of words) expect(sequence).toBe(0);
    expect(text).toContain(words.map(({ content }) => content).join(''));
  });

  it('that is left leaves the task alone, and goes on elsewhere without gap or repeat', async () => {
    const { name, prompt } = await holding();
    const { task_id } = await api.submit({ prompt });
    const before: agentsV1.StepEvent[] = [];
    for await (const step of api.steps({ task_id })) {
      before.push(step);
      if (step.sequence === 1) break;
    }
    expect((await api.get(task_id)).status).toBe('running');
    stack.tools.release(name);
    const rest = await read(api.steps({ task_id, after_sequence: 1 }));
    expect([...journalled(before), ...journalled(rest)].map(({ sequence }) => sequence)).toEqual([
      1, 2, 3, 4,
    ]);
  });

  it('of an instance that stops ends with UNAVAILABLE, and goes on at another one', async () => {
    const leaving = await stack.spawnAgent();
    const { name, prompt } = await holding();
    const there = stack.grpc(leaving);
    const { task_id } = await there.submit({ prompt });
    await held(name);
    const before: agentsV1.StepEvent[] = [];
    const reading = (async () => {
      for await (const step of there.steps({ task_id })) before.push(step);
    })();
    const running = refused(there.run({ prompt, task_id }));
    await eventually(() => journalled(before).length === 1);
    leaving.kill('SIGTERM');
    expect(await refused(reading)).toMatchObject({ code: 'draining', status: 503, retryable: true });
    // The wait ended with the instance; the task did not.
    expect(await running).toMatchObject({ code: 'draining' });
    expect(await leaving.exited).toBe(0);
    stack.tools.release(name);
    const rest = await read(api.steps({ task_id, after_sequence: 1 }));
    expect([...journalled(before), ...journalled(rest)].map(({ sequence }) => sequence)).toEqual([
      1, 2, 3, 4,
    ]);
    expect(await api.get(task_id)).toMatchObject({ status: 'completed', output: 'held' });
  });
});

describe('CancelTask, ListTasks, GetAgent, Health', () => {
  it('cancels what runs, and tells that it had ended', async () => {
    const { name, prompt } = await holding();
    const { task_id } = await api.submit({ prompt });
    await held(name);
    expect(await api.cancel(task_id)).toMatchObject({ status: 'cancelled', error: 'cancelled' });
    const done = await api.run({ prompt: await answering('done') });
    expect(await refused(api.cancel(done.task_id))).toMatchObject({ code: 'task-finished', status: 409 });
  });

  it('pages through all tasks, newest first', async () => {
    const own = stack.grpc(agent, { tenant: unique('lister') });
    const prompt = await answering('listed');
    const ids: string[] = [];
    for (const session_id of ['a', 'b', 'a']) ids.unshift((await own.run({ prompt, session_id })).task_id);
    const first = await own.list({ limit: 2 });
    const second = await own.list({ limit: 2, cursor: first.next_cursor });
    expect(second.next_cursor).toBeUndefined();
    expect([...first.tasks, ...second.tasks].map(({ task_id }) => task_id)).toEqual(ids);
    const idsOf = async (request: object) => (await own.list(request)).tasks.map(({ task_id }) => task_id);
    expect(await idsOf({ session_id: 'b' })).toEqual([ids[1]]);
    expect(await idsOf({ status: 'failed' })).toEqual([]);
  });

  it('says what the agent is, and without a token whether it is ready', async () => {
    expect(await api.agent()).toEqual({
      id: 'agent-test',
      name: 'test',
      description: expect.any(String) as string,
      tools: expect.arrayContaining(['test_echo']) as string[],
      limits: { max_steps: 10, token_budget: 32_768 },
      model: 'scripted',
      scripted: true,
    });
    expect(await api.health({ token: null })).toEqual({ status: 'ok', missing: {} });
  });
});

describe('what is refused', () => {
  it.each<[string, object, string[]]>([
    [
      'negative numbers',
      { prompt: 'x', max_steps: -1, token_budget: -512, wait_ms: -1 },
      ['max_steps', 'token_budget', 'wait_ms'],
    ],
    ['0, which is not absent', { prompt: 'x', max_steps: 0, token_budget: 0 }, ['max_steps', 'token_budget']],
    [
      'too much',
      { prompt: 'x', max_steps: 26, token_budget: 32_769, wait_ms: 60_001 },
      ['max_steps', 'token_budget', 'wait_ms'],
    ],
    ['a blank prompt', { prompt: ' \n' }, ['prompt']],
    ['no prompt', {}, ['prompt']],
    ['a prompt of 100,001 characters', { prompt: 'x'.repeat(100_001) }, ['prompt']],
    ['a session id with a colon', { prompt: 'x', session_id: 'a:b' }, ['session_id']],
    ['an empty session id', { prompt: 'x', session_id: '' }, ['session_id']],
    ['an id that is no UUID', { prompt: 'x', task_id: '1' }, ['task_id']],
    ['an empty key', { prompt: 'x', idempotency_key: '' }, ['idempotency_key']],
    [
      '65 metadata keys',
      { prompt: 'x', metadata: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, 'v'])) },
      ['metadata'],
    ],
    ['an empty metadata key', { prompt: 'x', metadata: { '': 'v' } }, ['metadata']],
    ['a deadline of 0', { prompt: 'x', deadline_ms: 0 }, ['deadline_ms']],
  ])('INVALID_ARGUMENT, every field named: %s', async (_, request, fields) => {
    for (const failure of await allRefused([api.run(request), api.submit(request)])) {
      expect(failure).toMatchObject({ code: 'validation', status: 400 });
      expect(fieldsOf(failure)).toEqual(fields.toSorted());
    }
  });

  it('INVALID_ARGUMENT: ids, sequences and queries that are none', async () => {
    for (const failure of await allRefused([api.get('1'), api.cancel(''), read(api.steps({ task_id: '1' }))]))
      expect(fieldsOf(failure)).toEqual(['task_id']);
    const task_id = randomUUID();
    expect(fieldsOf(await refused(read(api.steps({ task_id, after_sequence: -1 }))))).toEqual([
      'after_sequence',
    ]);
    expect(fieldsOf(await refused(api.list({ limit: -1, status: 'done', cursor: 'x' })))).toEqual([
      'cursor',
      'limit',
      'status',
    ]);
    expect(await refused(api.submit({ prompt: 'a\0b' }))).toMatchObject({
      code: 'malformed-request',
      status: 400,
    });
  });

  it('UNAUTHENTICATED: no token, and tokens that do not count', async () => {
    const now = Math.floor(Date.now() / 1000);
    const right = {
      sub: 'user-x',
      user: 'user-x',
      tenant: 'bad',
      aud: ['agent-test'],
      scope: 'tasks:read tasks:write',
      exp: now + 60,
    };
    await expect(api.list({}, { token: stack.signer.sign(right) })).resolves.toEqual({ tasks: [] });
    for (const { fault, token } of forgedTokens(stack.signer, right)) {
      const { code, status, headers } = await refused(api.list({}, { token }));
      expect({ fault, code, status, headers }).toEqual({
        fault,
        code: 'unauthenticated',
        status: 401,
        headers: { 'www-authenticate': expect.stringMatching(/^Bearer/) as string },
      });
    }
    // Before anything is said of the request.
    expect(await refused(api.submit({}, { token: null }))).toMatchObject({ code: 'unauthenticated' });
    expect(await refused(read(api.steps({}, { token: null })))).toMatchObject({ code: 'unauthenticated' });
  });

  it('PERMISSION_DENIED: callers that the agent does not know, and tokens without the scope', async () => {
    const mallory = stack.grpc(agent, { userId: 'mallory' });
    expect(await refused(mallory.submit({ prompt: 'x' }))).toMatchObject({ code: 'forbidden', status: 403 });
    const reader = stack.grpc(agent, { scopes: ['tasks:read'] });
    await reader.list();
    const { task_id } = await api.submit({ prompt: await answering('x') });
    const failures = await allRefused([
      reader.run({ prompt: 'x' }),
      reader.submit({ prompt: 'x' }),
      reader.cancel(task_id),
      read(reader.steps({ prompt: 'x' })),
    ]);
    for (const failure of failures) expect(failure).toMatchObject({ code: 'forbidden', status: 403 });
  });

  it('NOT_FOUND: unknown tasks, and those of other tenants and users', async () => {
    const { task_id } = await api.run({ prompt: await answering('secret') });
    const strangers = [{ tenant: 'other' }, { userId: 'user-eve' }].map((person) =>
      stack.grpc(agent, person),
    );
    for (const by of [...strangers, api])
      for (const id of [randomUUID(), ...(by === api ? [] : [task_id])])
        for (const failure of await allRefused([by.get(id), by.cancel(id), read(by.steps({ task_id: id }))]))
          expect(failure).toMatchObject({ code: 'task-not-found', status: 404 });
  });

  it('RESOURCE_EXHAUSTED: a message above 1 MiB, and a full backlog with when to come back', async () => {
    expect(await refused(api.submit({ prompt: 'x'.repeat(2_000_000) }))).toMatchObject({
      code: 'message-too-large',
    });
    const strict = await stack.spawnAgent({ MAX_BACKLOG: '1' });
    const busy = stack.grpc(strict, { tenant: 'busy' });
    const { name, prompt } = await holding();
    await busy.submit({ prompt, session_id: 's' });
    await held(name);
    await eventually(() => busy.submit({ prompt, session_id: 's' }));
    const full = await eventually(() => refused(busy.submit({ prompt, session_id: 's' })));
    expect(full).toMatchObject({
      code: 'backlog-full',
      status: 429,
      retryAfterMs: 5000,
      headers: { 'ratelimit-policy': '"backlog";q=1' },
    });
    stack.tools.release(name);
    await strict.stop();
  });

  it('none of it left a task behind or a word of it in the log', async () => {
    expect(await query(`select id from agents.tasks where tenant = 'bad'`)).toBeUndefined();
    expect(agent.output()).not.toMatch(/Bearer|eyJ/);
  });
});

describe('the gateway over gRPC', () => {
  it('goes on with a stream at the next instance when the agent is killed, without gap or repeat', async () => {
    const quick = { LEASE_MS: '1500', RECONCILE_MS: '200', LOST_AFTER_MS: '500' };
    const [first, second] = await Promise.all([stack.spawnAgent(quick), stack.spawnAgent(quick)]);
    const balancer = await forwarding(first.grpcUrl);
    const gateway = await stack.spawnGateway({ 'agent-test': balancer.url });
    const { name, prompt } = await holding();
    const through = stack.apiThrough(gateway, 'agent-test', { tenant: 'resumed' });
    const id = await through.accepted({ prompt });
    await held(name);
    const sequences: number[] = [];
    const reading = (async () => {
      for await (const event of through.events(id))
        if (event.id !== undefined) sequences.push(Number(event.id));
    })();
    await eventually(() => sequences.includes(1));
    first.kill('SIGKILL');
    await first.exited;
    expect(await through.get(id)).toMatchObject({ status: 503, body: { code: 'unreachable' } });
    balancer.to(second.grpcUrl);
    stack.tools.release(name);
    await reading;
    expect(sequences).toEqual([1, 2, 3, 4]);
    expect((await through.get(id)).body).toMatchObject({ status: 'completed', output: 'held' });
    await Promise.all([second.stop(), gateway.stop()]);
    balancer.close();
  });

  it('answers on while one of two instances is killed, and every task that it accepted is finished', async () => {
    const quick = { LEASE_MS: '1500', RECONCILE_MS: '200', LOST_AFTER_MS: '500' };
    const [first, second] = await Promise.all([stack.spawnAgent(quick), stack.spawnAgent(quick)]);
    // An agent that is named twice has two addresses.
    const gateway = await stack.spawnGateway({
      'agent-test': `${first.grpcUrl},agent-test=${second.grpcUrl}`,
    });
    const through = stack.apiThrough(gateway, 'agent-test', { tenant: 'survivor' });
    const prompt = await answering('alive');
    const known = await through.accepted({ prompt });
    const ids = [known];
    const statuses: number[] = [];
    let stop = false;
    const going = (what: () => Promise<{ status: number }>) => async () => {
      while (!stop) statuses.push((await what()).status);
    };
    const submit = async () => {
      const answered = await through.submit({ prompt });
      ids.push(answered.body.task_id);
      return answered;
    };
    const loops = [going(() => through.get(known)), going(() => through.get(known)), going(submit)];
    const load = Promise.all(loops.map((loop) => loop()));
    await eventually(() => ids.length > 20);
    first.kill('SIGKILL');
    await first.exited;
    const before = ids.length;
    await eventually(() => ids.length > before + 20);
    stop = true;
    await load;
    expect(new Set(statuses)).toEqual(new Set([200, 202]));
    expect(new Set(ids).size).toBe(ids.length);
    const views = await Promise.all(ids.map((id) => through.ended(id)));
    expect(new Set(views.map(({ status }) => status))).toEqual(new Set(['completed']));
    await Promise.all([second.stop(), gateway.stop()]);
  });

  it('passes the deadline of a task on', async () => {
    const gateway = await stack.spawnGateway({ 'agent-test': agent.grpcUrl });
    const through = stack.apiThrough(gateway, 'agent-test');
    const id = await through.accepted({ prompt: await answering('x') }, { 'x-deadline-ms': '50000' });
    const row = await query<{ ms: number }>(
      'select extract(epoch from deadline - created_at)::float8 * 1000 as ms from agents.tasks where id = $1',
      [id],
    );
    expect(Math.round(row!.ms)).toBe(50_000);
    expect(await through.submit({ prompt: 'x' }, { 'x-deadline-ms': '-1' })).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'X-Deadline-Ms' }] },
    });
  });
});

describe('while Postgres is away', () => {
  it('UNAVAILABLE with when to come back, NOT_SERVING, and everything again once it is back', async () => {
    const { folder, postgres } = stack.infrastructure;
    await stopProcess(postgres.process, 'SIGKILL', 5000);
    try {
      const failure = await refused(api.submit({ prompt: 'x' }));
      expect(failure).toMatchObject({ code: 'database-unavailable', status: 503, retryAfterMs: 1000 });
      const { status, missing } = await api.health();
      expect(status).toBe('not_ready');
      expect(Object.keys(missing)).toContain('postgres');
    } finally {
      await startPostgres({ folder, port: postgres.port });
    }
    const prompt = await answering('back');
    const result = await eventually(() => api.run({ prompt, idempotency_key: 'back' }));
    expect(result).toMatchObject({ status: 'completed', output: 'back' });
  });
});

/** Hands connections on to one address after the other, as a load balancer does. */
async function forwarding(first: string) {
  let port = Number(first.split(':').at(-1));
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    client.pipe(upstream).pipe(client);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const)
      one.on('error', () => undefined).on('close', () => other.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `grpc://127.0.0.1:${(server.address() as AddressInfo).port}`,
    to: (next: string) => (port = Number(next.split(':').at(-1))),
    close: () => server.close(),
  };
}

async function query<T extends pg.QueryResultRow>(
  text: string,
  values: unknown[] = [],
): Promise<T | undefined> {
  const database = new pg.Client(stack.infrastructure.databaseUrl);
  await database.connect();
  try {
    return (await database.query<T>(text, values)).rows[0];
  } finally {
    await database.end();
  }
}
