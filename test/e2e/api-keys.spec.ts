import type { TaskView } from '#libs/contracts';
import type { SpawnedService } from '#libs/devstack';
import { answer, ask, eventually, TestStack, type Asked } from '#libs/testing';

jest.setTimeout(120_000);

let stack: TestStack;
let agent: SpawnedService;
let gateway: SpawnedService;

beforeAll(async () => {
  stack = await TestStack.start();
  agent = await stack.spawnAgent();
  gateway = await stack.spawnGateway({ 'agent-test': agent.grpcUrl });
});
afterAll(() => stack?.stop());

describe('API keys', () => {
  const operator = async () => (await stack.tokens('cli').authorization('identity')).slice('Bearer '.length);
  const create = async (body: object) =>
    (await ask(`${stack.identity.url}/api-keys`, await operator(), { method: 'POST', body }))
      .body as unknown as {
      id: string;
      key: string;
    };
  const list = (headers: Record<string, string>, url = gateway.url) =>
    ask(`${url}/v1/agents/test/tasks`, null, { headers });

  it('of a user are taken at the gateway, in both headers, and by nobody else', async () => {
    const { key } = await create({
      tenant: 'keyed',
      user: 'user-kim',
      scopes: ['tasks:read', 'tasks:write'],
    });
    const prompt = await stack.scenario({ name: 'keyed', steps: [answer('for Kim')] });
    const run = await ask(`${gateway.url}/v1/agents/test/run`, key, { method: 'POST', body: { prompt } });
    expect(run.body as unknown as TaskView).toMatchObject({ status: 'completed', output: 'for Kim' });
    const mine = (await list({ 'x-api-key': key })).body['tasks'] as TaskView[];
    expect(mine.map(({ task_id }) => task_id)).toEqual([run.body['task_id']]);
    expect((await ask(`${agent.url}/tasks`, key)).status).toBe(401);
    expect((await ask(`${stack.registry.url}/tools`, null, { headers: { 'x-api-key': key } })).status).toBe(
      401,
    );
  });

  it('of a tenant see all of its tasks, with no user', async () => {
    const { key } = await create({ tenant: 'keyed-2', scopes: ['tasks:read', 'tasks:write'] });
    const api = stack.apiThrough(gateway, 'agent-test', { userId: 'user-kim', tenant: 'keyed-2' });
    const id = await api.accepted({ prompt: await stack.scenario({ name: 'of-kim', steps: [answer('x')] }) });
    await api.ended(id);
    expect((await list({ 'x-api-key': key })).body['tasks']).toHaveLength(1);
  });

  it('have their scopes', async () => {
    const { key } = await create({ tenant: 'keyed', user: 'user-kim', scopes: ['tasks:read'] });
    const refused = await ask(`${gateway.url}/v1/agents/test/tasks`, key, {
      method: 'POST',
      body: { prompt: 'x' },
    });
    expect([refused.status, refused.body.code]).toEqual([403, 'forbidden']);
    // It counts like every other request of the key.
    expect(refused.headers.get('ratelimit-policy')).toBe('"key";q=1000000;w=60');
    expect(refused.headers.get('ratelimit')).toMatch(/^"key";r=999999;t=\d+$/);
  });

  it('that were revoked are refused within 30 s', async () => {
    const { id, key } = await create({ tenant: 'keyed', user: 'user-kim', scopes: ['tasks:read'] });
    expect((await list({ 'x-api-key': key })).status).toBe(200);
    const revoked = performance.now();
    await ask(`${stack.identity.url}/api-keys/${id}`, await operator(), { method: 'DELETE' });
    await eventually(
      () => list({ 'x-api-key': key }),
      ({ status }) => status === 401,
      { timeoutMs: 35_000 },
    );
    expect(performance.now() - revoked).toBeLessThan(31_500);
  });

  it('that are none are refused', async () => {
    const key = `baton_${'0'.repeat(16)}_${'0'.repeat(64)}`;
    const wrong: Array<Record<string, string>> = [
      { 'x-api-key': key },
      { authorization: `Bearer ${key}` },
      { 'x-api-key': 'x' },
      { 'x-api-key': '' },
    ];
    for (const headers of wrong) {
      const refused = await list(headers);
      expect([refused.status, refused.body.code]).toEqual([401, 'unauthenticated']);
    }
  });

  it('and tokens that are refused tell how many more may be', async () => {
    const door = await stack.spawnGateway({ 'agent-test': agent.grpcUrl });
    const refusals: Array<[Record<string, string>, string]> = [
      [{ 'x-api-key': 'x' }, '"failures";q=30;w=60'],
      [{ authorization: `Bearer ${stack.signer.sign({ aud: 'somebody-else' })}` }, '"failures";q=300;w=60'],
      [{}, '"failures";q=300;w=60'],
    ];
    const left: string[] = [];
    for (const [headers, policy] of refusals) {
      const refused = await list(headers, door.url);
      expect([refused.status, refused.headers.get('ratelimit-policy')]).toEqual([401, policy]);
      left.push(/r=(\d+);/.exec(refused.headers.get('ratelimit') ?? '')?.[1] ?? 'nothing');
    }
    expect(left).toEqual(['29', '299', '298']);
    await door.stop();
  });

  it('that are wrong are 30 a minute for one address, and a client does not choose its address', async () => {
    const [door, proxied] = await Promise.all([
      stack.spawnGateway({ 'agent-test': agent.grpcUrl }),
      stack.spawnGateway({ 'agent-test': agent.grpcUrl }, { TRUSTED_PROXIES: 'loopback' }),
    ]);
    const { key } = await create({ tenant: 'keyed', user: 'user-kim', scopes: ['tasks:read'] });
    const another = await create({ tenant: 'keyed', user: 'user-kim', scopes: ['tasks:read'] });
    const from = (i: number) => ({ 'x-forwarded-for': `192.0.2.${i}` });
    const guess = (i: number, url: string) =>
      list({ 'x-api-key': `baton_${'0'.repeat(16)}_${String(i).padStart(64, '0')}`, ...from(i) }, url);
    expect((await list({ 'x-api-key': key }, door.url)).status).toBe(200);
    for (let i = 0; i < 30; i += 1) expect((await guess(i, door.url)).status).toBe(401);
    const refused = await guess(30, door.url);
    expect([refused.status, refused.body.code]).toEqual([429, 'rate-limited']);
    expect(refused.headers.get('ratelimit-policy')).toBe('"failures";q=30;w=60');
    expect(refused.headers.get('ratelimit')).toMatch(/^"failures";r=0;t=\d+$/);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await list({ 'x-api-key': another.key }, door.url)).status).toBe(429);
    expect((await list({ 'x-api-key': key }, door.url)).status).toBe(200);
    // Behind a proxy that is trusted each client has its own address.
    for (let i = 0; i < 35; i += 1) expect((await guess(i, proxied.url)).status).toBe(401);
    for (const service of [door, proxied]) await service.stop();
  });

  it.each([
    ['over all instances', {}],
    ['per instance while Redis is away', { REDIS_URL: 'redis://127.0.0.1:1' }],
  ])('are limited per key %s', async (_, env) => {
    const limited = { RATE_LIMIT_PER_MINUTE: '7', ...env };
    const doors = await Promise.all([
      stack.spawnGateway({ 'agent-test': agent.grpcUrl }, limited),
      stack.spawnGateway({ 'agent-test': agent.grpcUrl }, limited),
    ]);
    const shared = Object.keys(env).length === 0;
    const used = shared ? doors : [doors[0]!];
    const { key } = await create({ tenant: 'limited', user: 'user-lim', scopes: ['tasks:read'] });
    const another = await create({ tenant: 'limited', user: 'user-lim', scopes: ['tasks:read'] });
    const answers: Asked[] = [];
    for (let i = 0; i < 10; i += 1)
      answers.push(await list({ 'x-api-key': key }, used[i % used.length]!.url));
    expect(answers.map(({ status }) => status)).toEqual([...Array<number>(7).fill(200), 429, 429, 429]);
    expect(answers[0]!.headers.get('ratelimit-policy')).toBe('"key";q=7;w=60');
    expect(answers[0]!.headers.get('ratelimit')).toMatch(/^"key";r=6;t=\d+$/);
    const refused = answers[9]!;
    expect(refused.body.code).toBe('rate-limited');
    expect(refused.headers.get('ratelimit')).toMatch(/^"key";r=0;t=\d+$/);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await list({ 'x-api-key': another.key }, used[0]!.url)).status).toBe(200);
    for (const door of doors) await door.stop();
  });
});
