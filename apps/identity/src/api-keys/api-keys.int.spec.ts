import { API_KEY_TYPE, TOKEN_EXCHANGE } from '#libs/auth';
import type { RunningService } from '#libs/chassis';
import type { Problem } from '#libs/contracts';
import { basic, claimsOf, clientCredentials, exchange, IdentityFixture, post } from '../identity.fixture.js';
import type { ApiKeyView } from './api-key.dto.js';

let fixture: IdentityFixture;
let running: RunningService;
let operator: string;

beforeAll(async () => {
  fixture = await IdentityFixture.open();
  running = await fixture.start();
  operator = (await clientCredentials(running.url, 'cli', 'identity')).body.access_token;
}, 60_000);
afterAll(() => fixture?.stop());

type Answer = ApiKeyView & { key: string; keys: ApiKeyView[]; next_cursor: string | null } & Partial<
    Omit<Problem, 'status'>
  >;

async function call(method: string, path: string, token: string | null, body?: object) {
  const response = await fetch(running.url + path, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: (text ? JSON.parse(text) : null) as Answer,
  };
}

const person = (scope: string, tenant = 'acme') =>
  fixture.signer.sign({ sub: 'ada', user: 'ada', tenant, aud: 'identity', scope });
const KEY = { tenant: 'acme', user: 'ada', scopes: ['tasks:read', 'tasks:write'] };
const create = async (more: object = {}) =>
  (await call('POST', '/api-keys', operator, { ...KEY, ...more })).body;
const open = (key: string, more: Record<string, string> = {}) =>
  exchange(running.url, 'gateway', key, { audience: 'gateway', ...more });

describe('a key', () => {
  it('is shown once and stored as a digest', async () => {
    const { status, headers, body } = await call('POST', '/api-keys', operator, { ...KEY, name: 'laptop' });
    expect(status).toBe(201);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(body).toMatchObject({
      ...KEY,
      name: 'laptop',
      created_by: 'cli',
      expires_at: null,
      last_used_at: null,
    });
    expect(body.key).toMatch(/^baton_[0-9a-f]{16}_[0-9a-f]{64}$/);
    const secret = body.key.split('_')[2]!;
    const { rows } = await fixture.sql.query('select k::text from identity.api_keys k where id = $1', [
      body.id,
    ]);
    expect(JSON.stringify(rows)).not.toContain(secret);
    const list = await call('GET', '/api-keys', operator);
    expect(JSON.stringify(list.body)).not.toContain(secret);
    expect(list.body.keys[0]).toMatchObject({ id: body.id, name: 'laptop' });
  });

  it("of a user is exchanged for the user's own token", async () => {
    const { key } = await create();
    const { status, body } = await open(key);
    expect([status, body['scope']]).toEqual([200, 'tasks:read tasks:write']);
    const claims = claimsOf(body.access_token);
    expect(claims).toMatchObject({ sub: 'ada', user: 'ada', tenant: 'acme', aud: 'gateway' });
    expect(claims).not.toHaveProperty('act');
    expect(claims.exp - claims.iat).toBe(300);
  });

  it('of a tenant names no user', async () => {
    const { key } = await create({ user: undefined });
    const claims = claimsOf((await open(key)).body.access_token);
    expect(claims).toMatchObject({ sub: 'tenant:acme', tenant: 'acme' });
    expect(claims).not.toHaveProperty('user');
  });

  it('opens what the client may call, for as long as the client may', async () => {
    const { key } = await create();
    const { body } = await exchange(running.url, 'cli', key, { audience: 'agent-search' });
    const claims = claimsOf(body.access_token);
    expect(claims).toMatchObject({ aud: 'agent-search', sub: 'ada' });
    expect(claims.exp - claims.iat).toBe(3600);
    expect((await open(key, { audience: 'identity' })).body.error).toBe('invalid_target');
  });

  it('opens several at once for its own holder', async () => {
    const { key } = await create();
    const form = new URLSearchParams({
      grant_type: TOKEN_EXCHANGE,
      subject_token: key,
      subject_token_type: API_KEY_TYPE,
      audience: 'gateway',
    });
    form.append('audience', 'agent-search');
    const { body } = await post(running.url, form.toString(), basic('cli'));
    expect(claimsOf(body.access_token)['aud']).toEqual(['gateway', 'agent-search']);
  });

  it('notes its use', async () => {
    const { id, key } = await create();
    await open(key);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { body } = await call('GET', '/api-keys', operator);
    expect(body.keys.find((one) => one.id === id)!.last_used_at).toMatch(/^\d{4}-/);
  });

  it('opens nothing any more when it was revoked', async () => {
    const { id, key } = await create();
    expect((await call('DELETE', `/api-keys/${id}`, operator)).status).toBe(204);
    expect((await open(key)).body.error).toBe('invalid_grant');
    expect((await call('DELETE', `/api-keys/${id}`, operator)).status).toBe(204);
  });

  it('opens nothing any more when it has expired, and no token outlives it', async () => {
    const { key } = await create({ expires_at: new Date(Date.now() + 2500).toISOString() });
    const claims = claimsOf((await open(key)).body.access_token);
    expect(claims.exp - claims.iat).toBeLessThanOrEqual(2);
    await new Promise((resolve) => setTimeout(resolve, 2700));
    expect((await open(key)).body.error).toBe('invalid_grant');
  });

  it('is not guessed', async () => {
    const { key, id } = await create();
    const other = (await create()).key.split('_')[2]!;
    for (const wrong of [
      `baton_${id}_${other}`,
      `baton_${'0'.repeat(16)}_${key.split('_')[2]}`,
      `${key}0`,
      'baton_',
    ])
      expect((await open(wrong)).body.error).toBe('invalid_grant');
  });
});

describe('who manages keys', () => {
  it.each<[string, () => string | null, number]>([
    ['nobody without a token', () => null, 401],
    ['a user without admin', () => person('tasks:read tasks:write'), 403],
    [
      'a token for another service',
      () => fixture.signer.sign({ sub: 'ada', user: 'ada', tenant: 'acme', aud: 'gateway', scope: 'admin' }),
      401,
    ],
  ])('%s', async (_, token, status) => {
    for (const [method, path, body] of [
      ['POST', '/api-keys', KEY],
      ['GET', '/api-keys', undefined],
      ['DELETE', '/api-keys/0123456789abcdef', undefined],
      ['POST', '/keys/rotate', undefined],
    ] as const)
      expect((await call(method, path, token(), body)).status).toBe(status);
  });

  it('an administrator, in the own tenant', async () => {
    await create();
    const admin = person('admin');
    const { status, body } = await call('POST', '/api-keys', admin, { user: 'eve', scopes: ['tasks:read'] });
    expect([status, body.tenant, body.created_by]).toEqual([201, 'acme', 'ada']);
    const foreign = await create({ tenant: 'globex' });
    expect((await call('POST', '/api-keys', admin, { ...KEY, tenant: 'globex' })).status).toBe(403);
    expect((await call('GET', '/api-keys?tenant=globex', admin)).status).toBe(403);
    expect((await call('DELETE', `/api-keys/${foreign.id}`, admin)).status).toBe(404);
    const tenants = (await call('GET', '/api-keys', admin)).body.keys.map(({ tenant }) => tenant);
    expect(new Set(tenants)).toEqual(new Set(['acme']));
    expect((await call('POST', '/keys/rotate', admin)).status).toBe(403);
    expect((await call('DELETE', `/api-keys/${body.id}`, admin)).status).toBe(204);
  });

  it('an administrator whose tenant is not known makes none', async () => {
    const { status, body } = await call('POST', '/api-keys', person('admin', 'nowhere'), {
      scopes: ['admin'],
    });
    expect([status, body.code]).toEqual([404, 'tenant-not-found']);
  });
});

describe('bad input', () => {
  it.each<[object, string]>([
    [{ scopes: [] }, 'scopes'],
    [{ scopes: ['root'] }, 'scopes'],
    [{ scopes: 'admin' }, 'scopes'],
    [{ scopes: undefined }, 'scopes'],
    [{ tenant: 'A B' }, 'tenant'],
    [{ tenant: 'system' }, 'tenant'],
    [{ tenant: '*' }, 'tenant'],
    [{ user: 'gateway' }, 'user'],
    [{ user: 'a:b' }, 'user'],
    [{ name: 'x'.repeat(101) }, 'name'],
    [{ name: 'a\nb' }, 'name'],
    [{ expires_at: 'soon' }, 'expires_at'],
    [{ expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    [{ secret: 'mine' }, 'secret'],
  ])('400 validation: %j', async (more, field) => {
    const { status, body } = await call('POST', '/api-keys', operator, { ...KEY, ...more });
    expect([status, body.code]).toEqual([400, 'validation']);
    expect(body.errors!.map((error) => error.field)).toContain(field);
  });

  it.each(['/api-keys/nothing', '/api-keys/0123456789abcdef'])('404: DELETE %s', async (path) => {
    const { status, body } = await call('DELETE', path, operator);
    expect([status, body.code]).toEqual([404, 'api-key-not-found']);
  });

  it('400: a cursor that is none', async () => {
    expect((await call('GET', '/api-keys?cursor=x', operator)).status).toBe(400);
  });
});

it('lists more than a page', async () => {
  await fixture.sql.query(
    `insert into identity.tenants values ('many');
     insert into identity.api_keys (id, tenant, name, scopes, secret_hash, created_by)
     select 'many-' || i, 'many', '', '{admin}', '\\x00', 'test' from generate_series(1, 150) i`,
  );
  const first = (await call('GET', '/api-keys?tenant=many', operator)).body;
  const second = (await call('GET', `/api-keys?tenant=many&cursor=${first.next_cursor}`, operator)).body;
  expect([first.keys.length, second.keys.length, second.next_cursor]).toEqual([100, 50, null]);
  expect(new Set([...first.keys, ...second.keys].map(({ id }) => id)).size).toBe(150);
});

describe('a key at this very door', () => {
  it('of an administrator makes, lists and revokes the keys of the own tenant, and no more', async () => {
    const { id, key } = await create({ tenant: 'initech', user: 'grace', scopes: ['admin'] });
    const foreign = await create({ tenant: 'globex' });
    const wanted = { user: 'eve', scopes: ['tasks:read'] };
    const made = await call('POST', '/api-keys', key, wanted);
    expect(made).toMatchObject({
      status: 201,
      body: { tenant: 'initech', user: 'eve', created_by: 'grace' },
    });
    expect((await open(made.body.key)).status).toBe(200);
    const listed = await fetch(`${running.url}/api-keys`, { headers: { 'x-api-key': key } });
    const { keys } = (await listed.json()) as Answer;
    expect(keys.map((one) => one.id)).toEqual([made.body.id, id]);
    expect((await call('DELETE', `/api-keys/${made.body.id}`, key)).status).toBe(204);
    expect((await open(made.body.key)).body.error).toBe('invalid_grant');
    expect((await call('POST', '/api-keys', key, { ...wanted, tenant: 'globex' })).status).toBe(403);
    expect((await call('DELETE', `/api-keys/${foreign.id}`, key)).status).toBe(404);
    expect((await call('POST', '/keys/rotate', key)).status).toBe(403);
    // The token that such a key stands for here is nobody else's to have.
    expect((await open(key, { audience: 'identity' })).body.error).toBe('invalid_target');
  });

  it("of a tenant does the same in the tenant's name", async () => {
    const { key } = await create({ tenant: 'hooli', user: undefined, scopes: ['admin'] });
    const made = await call('POST', '/api-keys', key, { scopes: ['tasks:read'] });
    expect(made).toMatchObject({ status: 201, body: { tenant: 'hooli', created_by: 'tenant:hooli' } });
  });

  it('without admin is refused', async () => {
    const { key } = await create();
    expect(await call('GET', '/api-keys', key)).toMatchObject({ status: 403, body: { code: 'forbidden' } });
  });

  it('opens nothing from the moment of its revocation', async () => {
    const { id, key } = await create({ scopes: ['admin'] });
    expect((await call('GET', '/api-keys', key)).status).toBe(200);
    expect((await call('DELETE', `/api-keys/${id}`, operator)).status).toBe(204);
    const refused = await call('GET', '/api-keys', key);
    expect(refused).toMatchObject({ status: 401, body: { code: 'unauthenticated' } });
  });

  it('that is wrong is refused, 30 times a minute for one address, while right ones go on', async () => {
    const { key } = await create({ scopes: ['admin'] });
    expect((await call('GET', '/api-keys', key)).status).toBe(200);
    const statuses: number[] = [];
    for (let i = 0; i < 32; i += 1) {
      const wrong = `baton_${'0'.repeat(16)}_${String(i).padStart(64, '0')}`;
      statuses.push((await call('GET', '/api-keys', wrong)).status);
    }
    expect(new Set(statuses.slice(0, 29))).toEqual(new Set([401]));
    expect(statuses.at(-1)).toBe(429);
    expect((await call('GET', '/api-keys', key)).status).toBe(200);
  });
});
