import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import pg from 'pg';
import type { Problem } from '#libs/contracts';
import type { SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, forgedTokens, TestStack } from '#libs/testing';

jest.setTimeout(120_000);

/** Nothing that this tenant sends may become a task. */
const BAD = { tenant: 'bad', userId: 'user-mallory' };
const SOME_ID = '00000000-0000-4000-8000-000000000000';
const MEGABYTE = 1_048_576;

let stack: TestStack;
let agent: SpawnedService;
/** An agent that lets one task wait. */
let strict: SpawnedService;
let gateway: SpawnedService;
/** Begun first: they take their time. */
let slowHeaders: Promise<string>;

beforeAll(async () => {
  stack = await TestStack.start();
  agent = await stack.spawnAgent({ BODY_TIMEOUT_MS: '500' });
  slowHeaders = raw(agent, 'POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-type: appl');
  strict = await stack.spawnAgent({ MAX_BACKLOG: '1' });
  gateway = await stack.spawnGateway({ 'agent-test': agent.grpcUrl }, { BODY_TIMEOUT_MS: '500' });
});
afterAll(() => stack?.stop());

interface Refused {
  status: number;
  type: string | null;
  headers: { get(name: string): string | null };
  problem: Problem;
}

async function request(url: string, init: RequestInit & { token?: string | null } = {}): Promise<Refused> {
  const { token = stack.token(BAD), headers, ...rest } = init;
  const response = await fetch(url, {
    ...rest,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(headers as Record<string, string>),
    },
  });
  const text = await response.text();
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    headers: response.headers,
    problem: (text === '' ? {} : JSON.parse(text)) as Problem,
  };
}

/** Sends `text` as it is and returns what came until the connection ended. */
function raw({ url }: SpawnedService, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname, () => socket.write(text));
    let received = '';
    socket.on('data', (data) => (received += data.toString()));
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
  });
}

function rawProblem(received: string): Refused {
  const [head = '', body = ''] = received.split('\r\n\r\n');
  const header = (name: string) => new RegExp(`^${name}: (.*)$`, 'im').exec(head)?.[1] ?? null;
  const json = body.slice(body.indexOf('{'), body.lastIndexOf('}') + 1);
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]),
    type: header('content-type'),
    headers: { get: header },
    problem: JSON.parse(json) as Problem,
  };
}

/** RFC 9457, and for a validation the named fields. */
function expectProblem(
  { status, type, problem }: Refused,
  expected: number,
  code: string,
  fields?: string[],
): void {
  expect({ status, code: problem.code, detail: problem.detail }).toEqual({
    status: expected,
    code,
    detail: expect.any(String),
  });
  expect(type).toMatch(/^application\/problem\+json(;|$)/);
  expect(problem).toMatchObject({
    type: `https://baton.dev/problems/${code}`,
    title: expect.any(String),
    status: expected,
  });
  const named = fields && new Set(problem.errors?.map(({ field }) => field));
  expect(named).toEqual(fields && new Set(fields));
}

const nested = (depth: number) => `{"prompt":"x","metadata":${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}}`;
const bytes = (...parts: Array<string | number[]>) =>
  new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part as string))));
const metadata = (entries: Array<[string, unknown]>) => ({
  prompt: 'x',
  metadata: Object.fromEntries(entries),
});

describe.each([
  ['at the agent', () => agent.url, () => agent.url, ''],
  ['through the gateway', () => `${gateway.url}/v1/agents/agent-test`, () => `${gateway.url}/v1`, '/v1'],
])('bad input %s', (_, submitBase, taskBase) => {
  const send = (body: RequestInit['body'], headers: Record<string, string> = {}, path = '/tasks') =>
    request(submitBase() + path, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers },
    });

  it.each<[string, RequestInit['body']]>([
    ['broken JSON', '{"prompt": "x"'],
    ['an empty body', undefined],
    ['an empty body with its type', ''],
    ['an array', '[{"prompt":"x"}]'],
    ['a text', '"x"'],
    ['a number', '7'],
    ['null', 'null'],
    ['invalid UTF-8', bytes('{"prompt":"', [0xc3, 0x28], '"}')],
    ['NUL in a text', '{"prompt":"x\\u0000y"}'],
    ['NUL in a key', '{"prompt":"x","metadata":{"a\\u0000":"b"}}'],
    ['a depth of 10,000', nested(10_000)],
  ])('400 malformed-request: %s', async (__, body) => {
    for (const path of ['/tasks', '/run'])
      expectProblem(await send(body, {}, path), 400, 'malformed-request');
  });

  it.each<[string, unknown, string[]]>([
    ['max_steps 0', { prompt: 'x', max_steps: 0 }, ['max_steps']],
    ['max_steps 26', { prompt: 'x', max_steps: 26 }, ['max_steps']],
    ['max_steps 1.5', { prompt: 'x', max_steps: 1.5 }, ['max_steps']],
    ['max_steps "5"', { prompt: 'x', max_steps: '5' }, ['max_steps']],
    ['token_budget 511', { prompt: 'x', token_budget: 511 }, ['token_budget']],
    ['token_budget 32769', { prompt: 'x', token_budget: 32_769 }, ['token_budget']],
    ['token_budget true', { prompt: 'x', token_budget: true }, ['token_budget']],
    ['a blank prompt', { prompt: ' \n\t ' }, ['prompt']],
    ['an empty prompt', { prompt: '' }, ['prompt']],
    ['no prompt', {}, ['prompt']],
    ['a prompt that is no text', { prompt: { toString: 'x' } }, ['prompt']],
    ['a prompt of 100,001 characters', { prompt: 'x'.repeat(100_001) }, ['prompt']],
    ['unknown fields', { prompt: 'x', user_id: 'admin', tenant: 'other' }, ['user_id', 'tenant']],
    ['65 metadata keys', metadata(Array.from({ length: 65 }, (__, i) => [`k${i}`, 'v'])), ['metadata']],
    ['metadata that is no text', metadata([['a', 1]]), ['metadata']],
    ['nested metadata', metadata([['a', { b: 'c' }]]), ['metadata']],
    ['an empty metadata key', metadata([['', 'v']]), ['metadata']],
    ['a metadata key of 65 characters', metadata([['k'.repeat(65), 'v']]), ['metadata']],
    ['a metadata value of 1,025 characters', metadata([['k', 'v'.repeat(1025)]]), ['metadata']],
    ['metadata that is a list', { prompt: 'x', metadata: ['a'] }, ['metadata']],
    ['a session id with a colon', { prompt: 'x', session_id: 'a:b' }, ['session_id']],
    ['a session id with CRLF', { prompt: 'x', session_id: 'a\r\nset-cookie: b' }, ['session_id']],
    ['a session id with a line end', { prompt: 'x', session_id: 'a\n' }, ['session_id']],
    ['an empty session id', { prompt: 'x', session_id: '' }, ['session_id']],
    ['a session id of 129 characters', { prompt: 'x', session_id: 's'.repeat(129) }, ['session_id']],
    [
      'all wrong at once',
      { prompt: '', max_steps: 0, token_budget: 1, more: 1 },
      ['prompt', 'max_steps', 'token_budget', 'more'],
    ],
  ])('400 validation: %s', async (__, body, fields) => {
    for (const path of ['/tasks', '/run'])
      expectProblem(await send(JSON.stringify(body), {}, path), 400, 'validation', fields);
  });

  it.each([
    ['{"prompt":"x","__proto__":{"max_steps":99}}', ['__proto__']],
    ['{"prompt":"x","metadata":{"constructor":"y"}}', ['metadata.constructor']],
    ['{"constructor":{"prototype":{"a":1}},"prompt":"x"}', ['constructor', 'constructor.prototype']],
  ])('400 validation: %s', async (body, fields) => {
    expectProblem(await send(body), 400, 'validation', fields);
  });

  it.each([
    ['empty', ''],
    ['of 256 characters', 'k'.repeat(256)],
    ['with a space', 'a b'],
    ['with a letter beyond ASCII', 'schlüssel'],
  ])('400 validation: an Idempotency-Key that is %s', async (__, key) => {
    expectProblem(await send('{"prompt":"x"}', { 'idempotency-key': key }), 400, 'validation', [
      'Idempotency-Key',
    ]);
  });

  it.each(['not-a-uuid', `${SOME_ID}0`, '1', '..%2f..', "'%20or%201=1"])(
    '400 validation: %s as task id',
    async (id) => {
      for (const [method, path] of [
        ['GET', ''],
        ['GET', '/events'],
        ['POST', '/cancel'],
      ] as const)
        expectProblem(await request(`${taskBase()}/tasks/${id}${path}`, { method }), 400, 'validation', [
          'task_id',
        ]);
    },
  );

  it.each([
    ['limit=0', 'limit'],
    ['limit=101', 'limit'],
    ['limit=ten', 'limit'],
    ['limit=1&limit=2', 'limit'],
    ['status=done', 'status'],
    ['session_id=a:b', 'session_id'],
    ['cursor=abc', 'cursor'],
    ['cursor=-1', 'cursor'],
    ['order=asc', 'order'],
  ])('400 validation: GET /tasks?%s', async (query, field) => {
    expectProblem(await request(`${submitBase()}/tasks?${query}`), 400, 'validation', [field]);
  });

  it('400 validation: a Last-Event-ID that is none', async () => {
    const tenant = `resumed-${taskBase().length}`;
    const prompt = await stack.scenario({ name: tenant, steps: [answer('x')] });
    const id = await stack.api(agent, { tenant }).accepted({ prompt });
    const token = stack.token({ tenant });
    for (const after of ['abc', '-1', '1.5', '99999999999']) {
      const headers = { 'last-event-id': after };
      expectProblem(
        await request(`${taskBase()}/tasks/${id}/events`, { token, headers }),
        400,
        'validation',
        ['Last-Event-ID'],
      );
    }
  });

  it('400 malformed-request: a path that cannot be decoded', async () => {
    expectProblem(await request(`${taskBase()}/tasks/%ff`), 400, 'malformed-request');
  });

  it('401 unauthenticated: tokens that do not count', async () => {
    const right = {
      sub: 'user-x',
      user: 'user-x',
      tenant: 'bad',
      aud: ['gateway', 'agent-test'],
      scope: 'tasks:read',
    };
    const list = (token: string | null) => request(`${submitBase()}/tasks`, { token });
    // The control: the same token without a fault is let in.
    expect((await list(stack.signer.sign(right))).status).toBe(200);
    for (const { fault, token } of forgedTokens(stack.signer, right)) {
      const refused = await list(token);
      expect([fault, refused.status, refused.headers.get('www-authenticate')]).toEqual([
        fault,
        401,
        'Bearer',
      ]);
      expectProblem(refused, 401, 'unauthenticated');
    }
  });

  it('401 before anything is said of the body or the task', async () => {
    const post = { method: 'POST', token: null, headers: { 'content-type': 'application/json' } };
    expectProblem(
      await request(`${submitBase()}/tasks`, { ...post, body: '{"prompt":""}' }),
      401,
      'unauthenticated',
    );
    expectProblem(await request(`${taskBase()}/tasks/nothing`, { token: null }), 401, 'unauthenticated');
  });

  it('404 task-not-found: an unknown task, and one of another tenant', async () => {
    const api = stack.api(agent);
    const id = await api.accepted({
      prompt: await stack.scenario({ name: 'theirs', steps: [answer('secret')] }),
    });
    for (const task of [SOME_ID, id])
      for (const [method, path] of [
        ['GET', ''],
        ['GET', '/events'],
        ['POST', '/cancel'],
      ] as const)
        expectProblem(await request(`${taskBase()}/tasks/${task}${path}`, { method }), 404, 'task-not-found');
    await api.ended(id);
  });

  it('404 not-found: a path that does not exist', async () => {
    expectProblem(await request(`${taskBase()}/nothing/here`), 404, 'not-found');
  });

  it.each([
    ['PUT', '/tasks', ['GET', 'POST']],
    ['GET', '/run', ['POST']],
    ['DELETE', '/tasks', ['GET', 'POST']],
  ])('405 method-not-allowed: %s %s', async (method, path, allow) => {
    const refused = await request(submitBase() + path, { method });
    expectProblem(refused, 405, 'method-not-allowed');
    const allowed = refused.headers.get('allow')!.split(', ');
    expect(allowed).toEqual(expect.arrayContaining(allow));
    expect(allowed).not.toContain(method);
  });

  it.each([
    ['DELETE', '', 'GET'],
    ['POST', '/events', 'GET'],
    ['GET', '/cancel', 'POST'],
  ])('405 method-not-allowed: %s /tasks/{id}%s', async (method, path, allow) => {
    const refused = await request(`${taskBase()}/tasks/${SOME_ID}${path}`, { method });
    expectProblem(refused, 405, 'method-not-allowed');
    expect(refused.headers.get('allow')).toContain(allow);
  });

  it('408 request-timeout: a body that does not come', async () => {
    const { pathname } = new URL(`${submitBase()}/tasks`);
    const service = pathname === '/tasks' ? agent : gateway;
    const head = `POST ${pathname} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${stack.token(BAD)}\r\ncontent-type: application/json\r\n`;
    for (const body of [
      'content-length: 1000\r\n\r\n{"prompt":',
      'transfer-encoding: chunked\r\n\r\n5\r\n{"pro\r\n',
    ])
      expectProblem(rawProblem(await raw(service, head + body)), 408, 'request-timeout');
  });

  it('413 payload-too-large: 2 MB, and a gzip bomb', async () => {
    expectProblem(await send(`{"prompt":"${'x'.repeat(2 * MEGABYTE)}"}`), 413, 'payload-too-large');
    const bomb = gzipSync(`{"prompt":"${'x'.repeat(50 * MEGABYTE)}"}`);
    expect(bomb.length).toBeLessThan(MEGABYTE / 10);
    expectProblem(await send(new Uint8Array(bomb), { 'content-encoding': 'gzip' }), 413, 'payload-too-large');
  });

  it.each<Record<string, string>>([
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/xml' },
    { 'content-type': 'application/x-www-form-urlencoded' },
    { 'content-type': 'multipart/form-data; boundary=x' },
    { 'content-type': 'application/json; charset=utf-16' },
    { 'content-encoding': 'compress' },
  ])('415 unsupported-media-type: %j', async (headers) => {
    expectProblem(
      await send('{"prompt":"x"}', headers as Record<string, string>),
      415,
      'unsupported-media-type',
    );
  });

  it('422 idempotency-key-reused: with another body', async () => {
    const token = stack.token({ tenant: `reused-${taskBase().length}` });
    const submit = (max_steps: number) =>
      request(`${submitBase()}/tasks`, {
        method: 'POST',
        token,
        body: JSON.stringify({ prompt: 'x', max_steps }),
        headers: { 'content-type': 'application/json', 'idempotency-key': 'k' },
      });
    expect((await submit(1)).status).toBe(202);
    expectProblem(await submit(2), 422, 'idempotency-key-reused');
  });

  it('431 headers-too-large', async () => {
    const service = taskBase() === agent.url ? agent : gateway;
    const received = await raw(
      service,
      `GET /health HTTP/1.1\r\nhost: x\r\nx-long: ${'y'.repeat(40_000)}\r\n\r\n`,
    );
    expectProblem(rawProblem(received), 431, 'headers-too-large');
  });

  it.each([
    'NONSENSE\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    'POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n',
  ])('400 malformed-request: %j instead of HTTP', async (text) => {
    const service = taskBase() === agent.url ? agent : gateway;
    expectProblem(rawProblem(await raw(service, text)), 400, 'malformed-request');
  });
});

it('403 forbidden: a caller that the agent does not know', async () => {
  const token = stack.token({ userId: 'mallory', tenant: 'bad' });
  const body = '{"prompt":"x"}';
  expectProblem(
    await request(`${agent.url}/tasks`, {
      method: 'POST',
      token,
      body,
      headers: { 'content-type': 'application/json' },
    }),
    403,
    'forbidden',
  );
});

it('404 agent-not-found: an agent that the gateway does not know', async () => {
  for (const name of ['nobody', 'agent-nobody', '__proto__', 'x'.repeat(1000)])
    expectProblem(await request(`${gateway.url}/v1/agents/${name}/tasks`), 404, 'agent-not-found');
});

it('409 idempotency-key-in-flight: the same key while its first request is being accepted', async () => {
  const slow = await stack.spawnAgent({ BATON_FAILPOINTS: 'intake.before-commit=delay:1500@1' });
  const api = stack.api(slow, { tenant: 'in-flight' });
  const prompt = await stack.scenario({ name: 'in-flight', steps: [answer('done')] });
  const key = { 'idempotency-key': 'k' };
  // The first to arrive is held before its commit; the other one is refused meanwhile.
  const answers = await Promise.all([api.submit({ prompt }, key), api.submit({ prompt }, key)]);
  const [accepted, refused] = answers.toSorted((a, b) => a.status - b.status);
  expect(accepted!.status).toBe(202);
  expect(refused!.status).toBe(409);
  expect(refused!.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(refused!.headers.get('retry-after')).toBe('1');
  expect(refused!.body).toMatchObject({
    code: 'idempotency-key-in-flight',
    type: 'https://baton.dev/problems/idempotency-key-in-flight',
  });
  expect(await api.accepted({ prompt }, key)).toBe(accepted!.body.task_id);
});

it('409 task-finished: cancelling what has ended', async () => {
  const api = stack.api(agent, { tenant: 'finished' });
  const id = await api.accepted({
    prompt: await stack.scenario({ name: 'finished', steps: [answer('done')] }),
  });
  await api.ended(id);
  const token = stack.token({ tenant: 'finished' });
  expectProblem(
    await request(`${agent.url}/tasks/${id}/cancel`, { method: 'POST', token }),
    409,
    'task-finished',
  );
});

it('429 backlog-full: with when to come back, and only for the tenant whose tasks wait', async () => {
  const tenant = 'busy';
  const api = stack.api(strict, { tenant });
  const prompt = await stack.scenario({
    name: 'busy',
    steps: [callTool('test_hold', { text: 'busy' }), answer('x')],
  });
  const session_id = 'one-by-one';
  const running = await api.accepted({ prompt, session_id });
  await eventually(() => stack.tools.calls['test_hold']!.includes('busy'));
  // The one that is running does not count; this one waits behind it.
  const waiting = await eventually(
    () => api.submit({ prompt, session_id }),
    ({ status }) => status === 202,
  );
  const refused = await request(`${strict.url}/tasks`, {
    method: 'POST',
    token: stack.token({ tenant }),
    body: JSON.stringify({ prompt, session_id }),
    headers: { 'content-type': 'application/json' },
  });
  expectProblem(refused, 429, 'backlog-full');
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(refused.headers.get('ratelimit-policy')).toBe('"backlog";q=1');
  expect(refused.headers.get('ratelimit')).toMatch(/^"backlog";r=0;t=\d+$/);
  const calm = stack.api(strict, { tenant: 'calm' });
  expect(
    (await calm.submit({ prompt: await stack.scenario({ name: 'calm', steps: [answer('x')] }) })).status,
  ).toBe(202);
  stack.tools.release('busy');
  for (const id of [running, waiting.body.task_id]) await api.ended(id);
  await eventually(
    () => api.submit({ prompt }),
    ({ status }) => status === 202,
  );
});

it('408 request-timeout: headers that do not come', async () => {
  expectProblem(rawProblem(await slowHeaders), 408, 'request-timeout');
});

it('none of it harmed the service or left a task behind', async () => {
  for (const service of [agent, strict, gateway]) {
    expect((await fetch(`${service.url}/health`)).status).toBe(200);
    expect(service.output()).not.toMatch(/"level":(50|60)/);
  }
  const database = new pg.Client(stack.infrastructure.databaseUrl);
  await database.connect();
  try {
    const { rows } = await database.query<{ n: number }>(
      `select count(*)::int as n from agents.tasks where tenant = 'bad'`,
    );
    expect(rows[0]!.n).toBe(0);
  } finally {
    await database.end();
  }
  const api = stack.apiThrough(gateway, 'agent-test', { tenant: 'good' });
  const prompt = await stack.scenario({ name: 'good', steps: [answer('still here')] });
  expect(await api.run({ prompt })).toMatchObject({ status: 200, body: { output: 'still here' } });
});
