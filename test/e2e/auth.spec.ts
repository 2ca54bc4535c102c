import pg from 'pg';
import type { SpawnedService } from '#libs/devstack';
import {
  answer,
  ask,
  callTool,
  eventually,
  forgedTokens,
  TestStack,
  type Asked,
  type TokenClaims,
} from '#libs/testing';

jest.setTimeout(120_000);

let stack: TestStack;
let agent: SpawnedService;
let gateway: SpawnedService;
let knowledge: SpawnedService;

beforeAll(async () => {
  stack = await TestStack.start();
  [agent, knowledge] = await Promise.all([
    stack.spawnAgent(),
    stack.spawn('tools/knowledge', { TOOL_REGISTRY_URL: stack.registry.url }),
  ]);
  gateway = await stack.spawnGateway({ 'agent-test': agent.grpcUrl });
});
afterAll(() => stack?.stop());

const PERSON: TokenClaims = {
  sub: 'user-x',
  user: 'user-x',
  tenant: 'acme',
  scope: 'tasks:read tasks:write',
};
const forgedFor = (claims: TokenClaims) => forgedTokens(stack.signer, claims);

/** Every door over HTTP, asked for something that a right token gets. */
const DOORS: Array<{ door: string; right: TokenClaims; url: () => string }> = [
  { door: 'agent', right: { ...PERSON, aud: 'agent-test' }, url: () => `${agent.url}/tasks` },
  {
    door: 'agent, called by a service',
    right: { ...PERSON, aud: 'agent-test', act: { sub: 'gateway' } },
    url: () => `${agent.url}/tasks`,
  },
  { door: 'gateway', right: { ...PERSON, aud: 'gateway' }, url: () => `${gateway.url}/v1/agents/test/tasks` },
  {
    door: 'tool registry',
    right: { ...PERSON, aud: 'tool-registry', act: { sub: 'agent-test' } },
    url: () => `${stack.registry.url}/tools`,
  },
  {
    door: 'tool service',
    right: { ...PERSON, aud: 'tools-knowledge', act: { sub: 'tool-registry' } },
    url: () => `${knowledge.url}/tools`,
  },
  {
    door: 'identity',
    right: { ...PERSON, aud: 'identity', scope: 'admin' },
    url: () => `${stack.identity.url}/api-keys`,
  },
];

describe.each(DOORS)('the door of the $door', ({ right, url }) => {
  it('lets a right token in', async () => {
    expect((await ask(url(), stack.signer.sign(right))).status).toBe(200);
  });

  it('answers 401 unauthenticated to every wrong one', async () => {
    for (const { fault, token } of forgedFor(right)) {
      const { status, headers, body } = await ask(url(), token);
      expect([fault, status, body.code]).toEqual([fault, 401, 'unauthenticated']);
      expect(headers.get('www-authenticate')).toBe('Bearer');
      expect(headers.get('content-type')).toContain('application/problem+json');
    }
  });
});

describe('403 forbidden', () => {
  const invoke = { method: 'POST', body: { arguments: { text: 'x' } } };
  const onBehalf = (aud: string, caller: string, more: TokenClaims = {}) =>
    stack.signer.sign({ ...PERSON, aud, act: { sub: caller }, ...more });
  const own = (user: string, aud: string, more: TokenClaims = {}) =>
    stack.signer.sign({ ...PERSON, sub: user, user, aud, ...more });
  const service = (sub: string, aud: string) =>
    stack.signer.sign({ sub, tenant: 'system', aud, scope: 'admin' });

  it.each<[string, () => Promise<Asked>]>([
    [
      'a caller that the agent does not know',
      () => ask(`${agent.url}/tasks`, onBehalf('agent-test', 'stranger')),
    ],
    ['another agent at an agent', () => ask(`${agent.url}/tasks`, onBehalf('agent-test', 'agent-search'))],
    [
      'a caller that the registry does not know',
      () => ask(`${stack.registry.url}/tools`, onBehalf('tool-registry', 'stranger')),
    ],
    [
      'a caller that a tool service does not know',
      () => ask(`${knowledge.url}/tools`, onBehalf('tools-knowledge', 'agent-test')),
    ],
    [
      'a tool that is not in the ACL',
      () =>
        ask(
          `${stack.registry.url}/tools/test_echo/invoke`,
          onBehalf('tool-registry', 'agent-search'),
          invoke,
        ),
    ],
    [
      'a tool that there is not',
      () =>
        ask(`${stack.registry.url}/tools/nothing/invoke`, onBehalf('tool-registry', 'agent-search'), invoke),
    ],
    [
      "an agent id that differs from the token's",
      () =>
        ask(`${stack.registry.url}/tools/test_echo/invoke`, onBehalf('tool-registry', 'agent-test'), {
          ...invoke,
          headers: { 'x-agent-id': 'agent-search' },
        }),
    ],
    [
      "a user's token where a service's belongs",
      () => ask(`${stack.registry.url}/tools`, own('user-x', 'tool-registry')),
    ],
    [
      "the token of a user who has an agent's name",
      () => ask(`${stack.registry.url}/tools`, own('agent-test', 'tool-registry')),
    ],
    [
      "the token of a user who has the gateway's name",
      () => ask(`${agent.url}/tasks`, own('gateway', 'agent-test')),
    ],
    [
      'a user who registers a tool',
      () => ask(`${stack.registry.url}/tools`, own('tools-x', 'tool-registry'), { method: 'POST', body: {} }),
    ],
    [
      'an agent that registers a tool',
      () =>
        ask(`${stack.registry.url}/tools`, service('agent-test', 'tool-registry'), {
          method: 'POST',
          body: {},
        }),
    ],
    [
      "a user who changes everybody's documents",
      () =>
        ask(`${knowledge.url}/documents`, own('user-x', 'tools-knowledge', { scope: 'admin' }), {
          method: 'PUT',
          body: { path: 'a.md', text: 'x', shared: true },
        }),
    ],
    [
      'a service without its scope at identity',
      () => ask(`${stack.identity.url}/api-keys`, own('user-x', 'identity')),
    ],
  ])('%s', async (_, request) => {
    const { status, body } = await request();
    expect([status, body.code]).toEqual([403, 'forbidden']);
  });

  it('while the same calls with the right names are let in', async () => {
    const echo = await ask(
      `${stack.registry.url}/tools/test_echo/invoke`,
      onBehalf('tool-registry', 'agent-test'),
      {
        ...invoke,
        headers: { 'x-agent-id': 'agent-test' },
      },
    );
    expect([echo.status, echo.body['outcome']]).toEqual([200, { ok: true, result: { text: 'x' } }]);
  });
});

describe('roles', () => {
  const REQUESTS: Array<[string, string, 'tasks:read' | 'tasks:write']> = [
    ['POST', '/run', 'tasks:write'],
    ['POST', '/tasks', 'tasks:write'],
    ['GET', '/tasks', 'tasks:read'],
    ['GET', '/tasks/{id}', 'tasks:read'],
    ['GET', '/tasks/{id}/events', 'tasks:read'],
    ['POST', '/tasks/{id}/cancel', 'tasks:write'],
  ];

  it.each(['agent', 'gateway'])('are asked for at the %s', async (door) => {
    const prompt = await stack.scenario({ name: `roles-${door}`, steps: [answer('done')] });
    const aud = door === 'agent' ? 'agent-test' : 'gateway';
    const token = (scope: string) => stack.signer.sign({ ...PERSON, aud, scope });
    const [submitUrl, taskUrl] =
      door === 'agent' ? [agent.url, agent.url] : [`${gateway.url}/v1/agents/test`, `${gateway.url}/v1`];
    const { body } = await ask(`${submitUrl}/tasks`, token('tasks:write'), {
      method: 'POST',
      body: { prompt },
    });
    const id = body['task_id'] as string;
    await eventually(
      () => ask(`${taskUrl}/tasks/${id}`, token('tasks:read')),
      (seen) => (seen.body['status'] as unknown) === 'completed',
    );
    const statuses: number[] = [];
    for (const [method, path, needed] of REQUESTS) {
      const base = path.includes('{id}') ? taskUrl : submitUrl;
      const url = `${base}${path.replace('{id}', id)}`;
      const request = {
        method,
        ...(['/run', '/tasks'].includes(path) && method === 'POST' ? { body: { prompt } } : {}),
      };
      const other = needed === 'tasks:read' ? 'tasks:write' : 'tasks:read';
      for (const scope of [other, '', 'tasks']) {
        const refused = await ask(url, token(scope), request);
        expect([method, path, refused.status, refused.body.code]).toEqual([method, path, 403, 'forbidden']);
        expect(refused.headers.get('www-authenticate')).toContain(`scope="${needed}"`);
      }
      for (const scope of [needed, 'admin']) statuses.push((await ask(url, token(scope), request)).status);
    }
    expect(statuses).not.toContain(403);
  });

  it.each(['agent', 'gateway'])(
    'an administrator sees the tasks of the tenant at the %s, a user the own',
    async (door) => {
      const tenant = `seen-${door}`;
      const open = (userId: string, more: object = {}) =>
        door === 'agent'
          ? stack.api(agent, { userId, tenant, ...more })
          : stack.apiThrough(gateway, 'agent-test', { userId, tenant, ...more });
      const prompt = await stack.scenario({ name: `seen-${door}`, steps: [answer('mine')] });
      const id = await open('user-ada').accepted({ prompt });
      await open('user-ada').ended(id);
      expect((await open('user-eve').get(id)).status).toBe(404);
      expect((await open('user-eve').list()).body.tasks).toEqual([]);
      expect((await open('user-eve').cancel(id)).status).toBe(404);
      const admin = open('user-eve', { scopes: ['admin'] });
      expect((await admin.get(id)).body.output).toBe('mine');
      expect((await admin.list()).body.tasks.map(({ task_id }) => task_id)).toEqual([id]);
      expect((await open('user-eve', { scopes: ['admin'], tenant: 'another' }).get(id)).status).toBe(404);
    },
  );
});

describe('on whose behalf', () => {
  it("a tool is called with the user's identity, in a token that names the agent", async () => {
    const text = 'whose';
    const prompt = await stack.scenario({
      name: text,
      steps: [callTool('test_record', { text }), answer('ok')],
    });
    const through = stack.apiThrough(gateway, 'agent-test', { userId: 'user-ada', tenant: 'acme' });
    expect((await through.run({ prompt })).body).toMatchObject({ status: 'completed' });
    expect(stack.tools.effects.find((effect) => effect.text === text)).toMatchObject({
      tenant: 'acme',
      userId: 'user-ada',
    });
  });

  it('the stored token is gone when the task has ended', async () => {
    const sql = new pg.Client({ connectionString: stack.infrastructure.databaseUrl });
    await sql.connect();
    const tokens = async (id: string) =>
      (
        await sql.query<{ subject_token: string | null }>(
          'select subject_token from agents.tasks where id = $1',
          [id],
        )
      ).rows[0]!.subject_token;
    const prompt = await stack.scenario({
      name: 'kept',
      steps: [callTool('test_hold', { text: 'kept' }), answer('ok')],
    });
    const api = stack.api(agent);
    const id = await api.accepted({ prompt });
    await eventually(() => stack.tools.calls['test_hold']!.includes('kept'));
    expect(await tokens(id)).toMatch(/^ey/);
    stack.tools.release('kept');
    await api.ended(id);
    expect(await tokens(id)).toBeNull();
    await sql.end();
  });

  it('a task whose token has long expired still acts for its user', async () => {
    const iat = Math.floor(Date.now() / 1000) - 290;
    // Seconds before its end; the tool is called when it is over.
    const token = stack.token({ userId: 'user-late' }, { aud: 'agent-test', iat, nbf: iat, exp: iat + 235 });
    const prompt = await stack.scenario({
      name: 'late',
      steps: [{ ...callTool('test_record', { text: 'late' }), latency_ms: 7000 }, answer('done')],
    });
    const api = stack.api(agent).as(token);
    const id = await api.accepted({ prompt });
    const view = await stack.api(agent, { userId: 'user-late' }).ended(id);
    expect(view).toMatchObject({ status: 'completed', output: 'done' });
    expect(stack.tools.effects.find(({ text }) => text === 'late')).toMatchObject({ userId: 'user-late' });
  });
});
