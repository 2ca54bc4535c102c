import { randomBytes, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { AuthModule, type AuthConfig, type Subject, type Tokens } from '#libs/auth';
import { HttpClient, startService, type RunningService } from '#libs/chassis';
import {
  type InvokeResponse,
  type ListedTool,
  type Problem,
  type ToolDefinition,
  type ToolHealth,
  type ToolOutcome,
} from '#libs/contracts';
import { defineTool, serveTools, ToolClient, ToolFailure, type Tool } from '#libs/tools';
import { TestIssuer } from '#libs/testing';
import toolRegistry from './service.js';

const ANY = { type: 'object' };

/** Calls that reached a handler, by tool; each test has its own tool. */
const effects = new Map<string, string[]>();
const countEffect = (tool: string, key: string | null) =>
  effects.set(tool, [...(effects.get(tool) ?? []), key ?? '']);

const text = {
  type: 'object',
  properties: { text: { type: 'string', minLength: 1 } },
  required: ['text'],
  additionalProperties: false,
};

const TOOLS: Tool[] = [
  defineTool<{ text: string }>({
    name: 'echo',
    version: '1.0.0',
    description: 'Says it again',
    effect: 'read',
    parameters: text,
    returns: ANY,
    handler: ({ text: said }, { tenant, userId, agentId }) => ({ said, tenant, userId, agentId }),
  }),
  defineTool({
    name: 'echo',
    version: '1.1.0',
    description: 'Says it louder',
    effect: 'read',
    parameters: text,
    returns: ANY,
    handler: () => ({ loud: true }),
  }),
  defineTool({
    name: 'scarce',
    version: '1.0.0',
    description: 'Two a minute',
    effect: 'read',
    rateLimit: 2,
    parameters: ANY,
    returns: ANY,
    handler: () => ({}),
  }),
  defineTool({
    name: 'slow',
    version: '1.0.0',
    description: 'Hangs',
    effect: 'read',
    timeoutMs: 200,
    parameters: ANY,
    returns: ANY,
    handler: (_, { signal }) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  }),
  defineTool({
    name: 'large',
    version: '1.0.0',
    description: '10 MB',
    effect: 'read',
    parameters: ANY,
    returns: { type: 'string' },
    handler: () => 'é'.repeat(5_000_000),
  }),
  defineTool({
    name: 'wrong',
    version: '1.0.0',
    description: 'Breaks its schema',
    effect: 'read',
    parameters: ANY,
    returns: { type: 'number' },
    handler: () => 'seven',
  }),
  defineTool({
    name: 'cyclic',
    version: '1.0.0',
    description: 'Not JSON',
    effect: 'read',
    parameters: ANY,
    returns: {},
    handler: () => {
      const a: Record<string, unknown> = {};
      a['a'] = a;
      return a;
    },
  }),
  defineTool({
    name: 'failing',
    version: '1.0.0',
    description: 'Fails',
    effect: 'read',
    parameters: ANY,
    returns: {},
    handler: () => {
      throw new ToolFailure('not_configured', 'no key');
    },
  }),
  defineTool({
    name: 'breaking',
    version: '1.0.0',
    description: 'Throws',
    effect: 'read',
    parameters: ANY,
    returns: {},
    handler: () => {
      throw new Error('password=hunter2');
    },
  }),
  defineTool<{ to?: string }>({
    name: 'send',
    version: '1.0.0',
    description: 'An effect',
    effect: 'write',
    rateLimit: 1000,
    parameters: ANY,
    returns: ANY,
    handler: async ({ to }, { idempotencyKey }) => {
      await sleep(100);
      countEffect('send', idempotencyKey);
      return { sent: to ?? null };
    },
  }),
  defineTool({
    name: 'send_hang',
    version: '1.0.0',
    description: 'An effect, then silence',
    effect: 'write',
    timeoutMs: 150,
    parameters: ANY,
    returns: ANY,
    handler: (_, { idempotencyKey }) => {
      countEffect('send_hang', idempotencyKey);
      return new Promise(() => undefined);
    },
  }),
];

function testUrl(variable: string): string {
  const url = process.env[variable];
  if (!url) throw new Error(`${variable} is not set`);
  return url;
}

let registry: RunningService;
let service: RunningService;
let foreign: Server;
let foreignUrl: string;
/** What `/sick` of that server tells. */
let sick = false;
/** How the foreign tool's server, which no library of Baton serves, answers the next requests. */
let answerForeign: (request: IncomingMessage, response: ServerResponse) => void;
/** A database of its own: the schema's name is fixed, and other suites have one too. */
const databaseName = `registry_${randomBytes(6).toString('hex')}`;
const databaseUrl = new URL(databaseName, testUrl('TEST_DATABASE_URL')).href;
const server = new Pool({ connectionString: testUrl('TEST_DATABASE_URL'), max: 1 });
const database = new Pool({ connectionString: databaseUrl });
// An idle connection that breaks is replaced; unheard, it would end the process.
for (const pool of [server, database]) pool.on('error', () => undefined);
const http = new HttpClient();
/** A name of its own: rate limits of an earlier run may still count. */
const AGENT = `agent-${databaseName}`;
let issuer: TestIssuer;
let agent: Tokens;
let foreignTools: Tokens;
/** For whom the agent acts. */
let ON: Subject;
const client = () => new ToolClient({ registryUrl: registry.url, tokens: agent, http });

const registryEnv = (extra: Record<string, string> = {}) => ({
  PORT: '0',
  HOST: '127.0.0.1',
  LOG_LEVEL: 'silent',
  DATABASE_URL: databaseUrl,
  REDIS_URL: testUrl('TEST_REDIS_URL'),
  ...issuer.env(),
  BATON_ENV: 'development',
  TOOL_HEALTH_MS: '100',
  TOOL_ACL_EXTRA: JSON.stringify({ [AGENT]: ['*'] }),
  ...extra,
});

async function post(path: string, body: unknown, headers: Record<string, string> = {}, tokens = agent) {
  const response = await fetch(`${registry.url}${path}`, {
    method: 'POST',
    headers: {
      authorization: await tokens.authorization('tool-registry', ON),
      'content-type': 'application/json',
      ...headers,
    },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Problem & InvokeResponse,
  };
}

const call = (name: string, args: unknown = {}, more: Partial<Parameters<ToolClient['invoke']>[0]> = {}) =>
  client().invoke({
    name,
    version: '1.0.0',
    arguments: args,
    idempotencyKey: randomUUID(),
    on: ON,
    deadlineMs: 10_000,
    signal: new AbortController().signal,
    ...more,
  });

const failure = (outcome: ToolOutcome) => (outcome.ok ? 'ok' : outcome.code);

function definition(name: string, more: Partial<ToolDefinition> = {}): ToolDefinition {
  return {
    name,
    version: '1.0.0',
    description: 'A tool',
    parameters: ANY,
    returns: {},
    endpoint: `${foreignUrl}/invoke`,
    health_url: `${foreignUrl}/health`,
    auth_type: 'service',
    rate_limit: 1000,
    timeout_ms: 300,
    effect: 'read',
    idempotent: false,
    ...more,
  };
}

const register = (body: unknown, tokens = foreignTools) => post('/tools', body, {}, tokens);
const answerJson = (response: ServerResponse, value: unknown) =>
  void response.setHeader('content-type', 'application/json').end(JSON.stringify(value));

beforeAll(async () => {
  issuer = await TestIssuer.start();
  agent = issuer.tokens(AGENT);
  foreignTools = issuer.tokens('tools-foreign');
  ON = issuer.subject(AGENT, { tenant: 'acme', userId: 'ada' });
  await server.query(`create database ${databaseName}`);
  foreign = createServer((request, response) => {
    if (request.url === '/sick') return void response.writeHead(sick ? 503 : 200).end();
    if (request.method === 'GET')
      return void response.writeHead(request.url === '/redirect' ? 302 : 200, { location: '/health' }).end();
    answerForeign(request, response);
  }).listen(0, '127.0.0.1');
  await once(foreign, 'listening');
  foreignUrl = `http://127.0.0.1:${(foreign.address() as AddressInfo).port}`;
  registry = await startService(toolRegistry, registryEnv());
  service = await startService(
    () => ({
      name: 'tools-test',
      description: '',
      imports: [
        AuthModule.forRoot({
          service: 'tools-test',
          config: issuer.env() as unknown as AuthConfig,
          allowedCallers: ['tool-registry'],
        }),
        serveTools({ tools: TOOLS, registryUrl: registry.url }),
      ],
    }),
    { PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: 'silent' },
  );
  for (let i = 0; i < 100 && (await fetch(`${service.url}/ready`)).status !== 200; i++) await sleep(50);
}, 30_000);

afterAll(async () => {
  await service?.stop();
  await registry?.stop();
  await http.close();
  await database.end();
  await server.query(`drop database ${databaseName} with (force)`);
  await server.end();
  foreign?.closeAllConnections();
  foreign?.close();
  issuer?.stop();
});

describe('a call', () => {
  it('reaches the handler with the identity of the token', async () => {
    expect(await call('echo', { text: 'hi' })).toEqual({
      ok: true,
      result: { said: 'hi', tenant: 'acme', userId: 'ada', agentId: AGENT },
    });
  });

  it('uses the pinned version, and the newest when none is asked for', async () => {
    expect(
      (await post('/tools/echo/invoke', { version: '1.0.0', arguments: { text: 'a' } })).body.version,
    ).toBe('1.0.0');
    expect((await post('/tools/echo/invoke', { arguments: { text: 'a' } })).body.version).toBe('1.1.0');
  });

  it('of an agent without the grant is forbidden, whether the tool exists or not', async () => {
    const other = issuer.tokens('agent-search');
    for (const tool of ['echo', 'no_such_tool']) {
      const { status, body } = await post(
        `/tools/${tool}/invoke`,
        { arguments: {} },
        { 'X-Agent-Id': AGENT },
        other,
      );
      expect([status, body.code]).toEqual([403, 'forbidden']);
    }
  });

  it('of a missing tool or version is 404', async () => {
    expect((await post('/tools/nothing/invoke', { arguments: {} })).body.code).toBe('tool-not-found');
    expect((await post('/tools/echo/invoke', { version: '9.0.0', arguments: {} })).body.code).toBe(
      'tool-version-not-found',
    );
  });

  it('with wrong arguments is 422 and names every path', async () => {
    const { status, body } = await post('/tools/echo/invoke', { arguments: { text: '', more: 1 } });
    expect([status, body.code]).toEqual([422, 'tool-arguments-invalid']);
    expect(body.errors?.map(({ field }) => field).sort()).toEqual(['arguments.more', 'arguments.text']);
    expect(failure(await call('echo', {}))).toBe('tool-arguments-invalid');
  });

  it('with wrong headers is 400', async () => {
    const { status, body } = await post(
      '/tools/echo/invoke',
      { arguments: { text: 'a' } },
      { 'X-Deadline-Ms': '0' },
    );
    expect([status, body.code, body.errors?.[0]?.field]).toEqual([400, 'validation', 'X-Deadline-Ms']);
  });

  it('beyond the rate limit is 429 with its headers, and an outcome for the agent', async () => {
    expect([
      failure(await call('scarce')),
      failure(await call('scarce')),
      failure(await call('scarce')),
    ]).toEqual(['ok', 'ok', 'rate-limited']);
    const { status, headers } = await post('/tools/scarce/invoke', { arguments: {} });
    expect(status).toBe(429);
    expect(headers.get('ratelimit-policy')).toBe('"tool";q=2;w=60');
    expect(headers.get('ratelimit')).toMatch(/^"tool";r=0;t=\d+$/);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  });

  it.each([
    ['slow', 'timeout'],
    ['wrong', 'tool-output-invalid'],
    ['cyclic', 'tool-error'],
    ['failing', 'not_configured'],
    ['breaking', 'tool-error'],
  ])('of %s ends in the outcome %s', async (tool, code) => {
    const outcome = await call(tool);
    expect(failure(outcome)).toBe(code);
    expect(JSON.stringify(outcome)).not.toContain('hunter2');
  });

  it('with a 10 MB answer is truncated, and says so', async () => {
    const outcome = await call('large');
    if (!outcome.ok) throw new Error(outcome.code);
    expect(outcome.truncated).toBe(true);
    const bytes = Buffer.byteLength(outcome.result as string);
    expect(bytes).toBeLessThanOrEqual(262_144);
    expect(bytes).toBeGreaterThan(262_000);
    expect(outcome.result).not.toContain('\uFFFD');
  });

  it('that the agent gives up ends with its reason', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('cancelled')), 50);
    await expect(call('slow', {}, { signal: controller.signal })).rejects.toThrow('cancelled');
  });
});

describe('a large call', () => {
  it('does not hold up the others', async () => {
    const many = Object.fromEntries(Array.from({ length: 80_000 }, (_, i) => [`p${i}`, 1]));
    const started = performance.now();
    expect(failure(await call('echo', many))).toBe('tool-arguments-invalid');
    expect(performance.now() - started).toBeLessThan(1500);
  });
});

describe('the list', () => {
  it('holds the newest version of what the caller may call', async () => {
    const tools = await client().list();
    expect(tools.find(({ name }) => name === 'echo')).toMatchObject({
      version: '1.1.0',
      effect: 'read',
      parameters: text,
    });
    expect(
      await new ToolClient({
        registryUrl: registry.url,
        tokens: issuer.tokens('agent-data'),
        http,
      }).list(),
    ).toEqual([]);
  });
});

describe('a write tool', () => {
  const ledger = async (key: string) =>
    (await database.query('select state, outcome from registry.effects where key = $1', [key])).rows;

  it('needs an idempotency key', async () => {
    const { status, body } = await post('/tools/send/invoke', { arguments: {} });
    expect([status, body.errors?.[0]?.field]).toEqual([400, 'Idempotency-Key']);
  });

  it('has its effect once for 200 calls at once with one key, and for one more later', async () => {
    const key = randomUUID();
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, () => call('send', { to: 'bob' }, { idempotencyKey: key })),
    );
    outcomes.push(await call('send', { to: 'bob' }, { idempotencyKey: key }));
    expect(new Set(outcomes.map((outcome) => JSON.stringify(outcome)))).toEqual(
      new Set(['{"ok":true,"result":{"sent":"bob"}}']),
    );
    expect(effects.get('send')!.filter((used) => used === key)).toHaveLength(1);
  });

  it('has its effect once for calls through two registries', async () => {
    const second = await startService(toolRegistry, registryEnv());
    const other = new ToolClient({ registryUrl: second.url, tokens: agent, http });
    const key = randomUUID();
    const one = {
      name: 'send',
      version: '1.0.0',
      arguments: {},
      idempotencyKey: key,
      on: ON,
      deadlineMs: 10_000,
      signal: new AbortController().signal,
    };
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 ? client() : other).invoke(one)),
    );
    await second.stop();
    expect(outcomes.map(failure)).toEqual(Array.from({ length: 20 }, () => 'ok'));
    expect(effects.get('send')!.filter((used) => used === key)).toHaveLength(1);
  });

  it('has its effect for every other key', async () => {
    const keys: string[] = [randomUUID(), randomUUID()];
    for (const key of keys) await call('send', {}, { idempotencyKey: key });
    expect(effects.get('send')!.filter((used) => keys.includes(used))).toHaveLength(2);
  });

  it('refuses other arguments under a key, and shares no key between tenants', async () => {
    const key = randomUUID();
    await call('send', { to: 'a' }, { idempotencyKey: key });
    expect(failure(await call('send', { to: 'b' }, { idempotencyKey: key }))).toBe('idempotency-key-reused');
    expect(
      await call(
        'send',
        { to: 'b' },
        { idempotencyKey: key, on: issuer.subject(AGENT, { tenant: 'other', userId: null }) },
      ),
    ).toEqual({ ok: true, result: { sent: 'b' } });
  });

  it('that does not answer ends outcome_unknown, and is not asked again', async () => {
    const key = randomUUID();
    expect(failure(await call('send_hang', {}, { idempotencyKey: key }))).toBe('outcome_unknown');
    expect(failure(await call('send_hang', {}, { idempotencyKey: key }))).toBe('outcome_unknown');
    expect(effects.get('send_hang')).toEqual([key]);
    expect(await ledger(key)).toMatchObject([{ state: 'unknown' }]);
  });

  it('runs on when its caller hangs up, for the one who asks again', async () => {
    const key = randomUUID();
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('gone')), 40);
    await expect(call('send', {}, { idempotencyKey: key, signal: controller.signal })).rejects.toThrow(
      'gone',
    );
    expect(failure(await call('send', {}, { idempotencyKey: key }))).toBe('ok');
    expect(effects.get('send')!.filter((used) => used === key)).toHaveLength(1);
  });

  it.each([
    [true, 2, 'ok'],
    [false, 1, 'outcome_unknown'],
  ])(
    'with idempotent=%s answers a 502 after the effect with %i dispatches and %s',
    async (idempotent, dispatches, code) => {
      const name = idempotent ? 'gateway_safe' : 'gateway_unsafe';
      expect((await register(definition(name, { effect: 'write', idempotent }))).status).toBe(201);
      const keys: unknown[] = [];
      answerForeign = (request, response) => {
        keys.push(request.headers['idempotency-key']);
        if (keys.length === 1) response.writeHead(502).end();
        else answerJson(response, { ok: true, result: 'sent' });
      };
      const key = randomUUID();
      expect(failure(await call(name, {}, { idempotencyKey: key }))).toBe(code);
      expect(keys).toEqual(Array.from({ length: dispatches }, () => key));
      expect(failure(await call(name, {}, { idempotencyKey: key }))).toBe(code);
      expect(keys).toHaveLength(dispatches);
    },
  );

  it('that refuses connections is not available, and its key stays free', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    await register(definition('refusing', { effect: 'write', endpoint: `http://127.0.0.1:${port}/invoke` }));
    const key = randomUUID();
    expect(failure(await call('refusing', {}, { idempotencyKey: key }))).toBe('tool-unavailable');
    expect(await ledger(key)).toEqual([]);
  });

  it.each([
    [true, 1, 'ok'],
    [false, 0, 'outcome_unknown'],
  ])(
    'left behind by a dead registry: idempotent=%s leads to %i dispatches and %s',
    async (idempotent, dispatches, code) => {
      const name = idempotent ? 'orphan_safe' : 'orphan_unsafe';
      await register(definition(name, { effect: 'write', idempotent }));
      let asked = 0;
      answerForeign = (_request, response) => answerJson(response, { ok: true, result: ++asked });
      const key = randomUUID();
      await call(name, {}, { idempotencyKey: key });
      asked = 0;
      await database.query(
        `update registry.effects set state = 'started', outcome = null, deadline = now() + interval '400 milliseconds' where key = $1`,
        [key],
      );
      const started = performance.now();
      expect(failure(await call(name, {}, { idempotencyKey: key }))).toBe(code);
      expect(performance.now() - started).toBeGreaterThan(350);
      expect(asked).toBe(dispatches);
    },
  );

  it('refused by the rate limit leaves its key free', async () => {
    await register(definition('rare_write', { effect: 'write', rate_limit: 1 }));
    answerForeign = (_request, response) => answerJson(response, { ok: true, result: null });
    expect(failure(await call('rare_write'))).toBe('ok');
    const key = randomUUID();
    expect(failure(await call('rare_write', {}, { idempotencyKey: key }))).toBe('rate-limited');
    expect(await ledger(key)).toEqual([]);
  });
});

describe('a foreign tool', () => {
  it.each([
    ['refuses the call', 'tool-error', (response: ServerResponse) => response.writeHead(404).end()],
    ['breaks', 'tool-unavailable', (response: ServerResponse) => response.writeHead(500).end()],
    [
      'redirects',
      'tool-error',
      (response: ServerResponse) => response.writeHead(302, { location: '/invoke' }).end(),
    ],
    ['answers no JSON', 'tool-output-invalid', (response: ServerResponse) => response.end('<html>')],
    ['answers no outcome', 'tool-output-invalid', (response: ServerResponse) => answerJson(response, [1, 2])],
    ['cuts the connection', 'tool-unavailable', (response: ServerResponse) => response.destroy()],
    ['hangs', 'timeout', () => undefined],
  ])('that %s ends in %s', async (_, code, answer) => {
    await register(definition('foreign_read'));
    answerForeign = (_request, response) => void answer(response);
    expect(failure(await call('foreign_read'))).toBe(code);
  });
});

describe('registration', () => {
  it('publishes once, repeats without change, and lets a tool move', async () => {
    expect((await register(definition('published'))).status).toBe(201);
    expect((await register(definition('published'))).status).toBe(200);
    expect((await register(definition('published', { endpoint: `${foreignUrl}/moved` }))).status).toBe(200);
    let path = '';
    answerForeign = (request, response) => {
      path = request.url!;
      answerJson(response, { ok: true, result: 1 });
    };
    await call('published');
    expect(path).toBe('/moved');
  });

  it('refuses another definition under a version, and a name of another service', async () => {
    await register(definition('contested'));
    expect((await register(definition('contested', { description: 'Other' }))).body.code).toBe(
      'tool-version-conflict',
    );
    const { status, body } = await register(
      definition('contested', { version: '2.0.0' }),
      issuer.tokens('tools-thief'),
    );
    expect([status, body.code]).toEqual([409, 'tool-name-taken']);
  });

  it('of one name by ten services at once gives it to one', async () => {
    const services = Array.from({ length: 10 }, (_, i) => issuer.tokens(`tools-rival-${i}`));
    const statuses = (await Promise.all(services.map((tokens) => register(definition('raced'), tokens)))).map(
      ({ status }) => status,
    );
    expect(statuses.sort((a, b) => a - b)).toEqual([201, ...Array.from({ length: 9 }, () => 409)]);
  });

  it('refuses a minor version that would break callers', async () => {
    const parameters = { type: 'object', properties: { a: {} } };
    await register(definition('evolving', { parameters }));
    const removed = await register(definition('evolving', { version: '1.1.0', parameters: ANY }));
    const required = await register(
      definition('evolving', { version: '1.0.1', parameters: { ...parameters, required: ['a'] } }),
    );
    expect([removed.body.code, required.body.code]).toEqual(['tool-schema-rejected', 'tool-schema-rejected']);
    expect((await register(definition('evolving', { version: '2.0.0', parameters: ANY }))).status).toBe(201);
  });

  it('is for tool services', async () => {
    expect((await register(definition('by_agent'), agent)).status).toBe(403);
    const unauthenticated = await fetch(`${registry.url}/tools`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expect(unauthenticated.status).toBe(401);
  });

  it('names every wrong field', async () => {
    const { status, body } = await register({
      ...definition('X'),
      rate_limit: 0,
      timeout_ms: '5',
      surprise: 1,
    });
    expect(status).toBe(400);
    expect(new Set(body.errors?.map(({ field }) => field))).toEqual(
      new Set(['name', 'rate_limit', 'timeout_ms', 'surprise']),
    );
  });

  const nested = (depth: number) => `${'{"not":'.repeat(depth)}{}${'}'.repeat(depth)}`;
  const withParameters = (schema: string) =>
    JSON.stringify(definition('rejected')).replace(
      '"parameters":{"type":"object"}',
      () => `"parameters":${schema}`,
    );
  it.each([
    ['a catastrophic pattern', '{"type":"object","properties":{"a":{"pattern":"^(a+)+$"}}}'],
    ['depth 1,000', nested(1000)],
    ['__proto__ as property', '{"type":"object","properties":{"__proto__":{"type":"string"}}}'],
    ['$data', '{"type":"object","properties":{"a":{"const":{"$data":"1/b"}}}}'],
    ['no schema', '{"type":"objekt"}'],
    [
      '20,000 properties',
      JSON.stringify({
        properties: Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`p${i}`, {}])),
      }),
    ],
  ])('rejects a schema with %s', async (_, schema) => {
    const { status, body } = await register(withParameters(schema));
    expect([status, body.code]).toEqual([422, 'tool-schema-rejected']);
  });

  it.each([
    ['a metadata address', 'http://169.254.169.254/latest'],
    ['another scheme', 'file:///etc/passwd'],
    ['a redirect', '/redirect'],
  ])('forbids an endpoint at %s', async (_, endpoint) => {
    const { status, body } = await register(
      definition('forbidden_place', {
        endpoint: endpoint.startsWith('/') ? foreignUrl + endpoint : endpoint,
      }),
    );
    expect([status, body.code]).toEqual([422, 'endpoint-forbidden']);
  });
});

describe("a tool service's health", () => {
  const healthOf = async (name: string) => {
    const response = await fetch(`${registry.url}/tools`, {
      headers: { authorization: await agent.authorization('tool-registry', ON) },
    });
    const { tools } = (await response.json()) as { tools: ListedTool[] };
    return tools.find((tool) => tool.name === name)!;
  };
  const becomes = async (name: string, state: ToolHealth['state']) => {
    for (;;) {
      const tool = await healthOf(name);
      if (tool.health.state === state) return tool;
      await sleep(20);
    }
  };

  it('is shown with its cause, follows the service, and refuses no call', async () => {
    await register(definition('sickly', { health_url: `${foreignUrl}/sick` }));
    expect(await becomes('sickly', 'up')).toMatchObject({
      service: 'tools-foreign',
      health: { cause: null },
    });
    sick = true;
    expect((await becomes('sickly', 'down')).health).toEqual({
      state: 'down',
      cause: 'its health_url answers 503',
      checked_at: expect.stringMatching(/^20/),
    });
    answerForeign = (_request, response) => answerJson(response, { ok: true, result: 1 });
    expect(failure(await call('sickly'))).toBe('ok');
    sick = false;
    await becomes('sickly', 'up');
  });

  it('of one where nobody listens is down', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    await register(definition('lonely', { health_url: `http://127.0.0.1:${port}/health` }));
    expect((await becomes('lonely', 'down')).health.cause).toContain('does not answer');
  });
});

describe('in production', () => {
  it('neither takes nor calls a tool on loopback', async () => {
    await register(definition('local_only'));
    answerForeign = (_request, response) => answerJson(response, { ok: true, result: 'reached' });
    expect(failure(await call('local_only'))).toBe('ok');
    const production = await startService(toolRegistry, registryEnv({ BATON_ENV: 'production' }));
    const development = registry;
    registry = production;
    try {
      expect((await register(definition('local_new'))).body.code).toBe('endpoint-forbidden');
      expect(failure(await call('local_only'))).toBe('tool-unavailable');
    } finally {
      registry = development;
      await production.stop();
    }
  });
});
