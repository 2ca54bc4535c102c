import { randomUUID } from 'node:crypto';
import { UnsecuredJWT } from 'jose';
import { FakeServer, json } from './issuer.fixture.js';
import type { Subject } from './principal.js';
import { Tokens } from './tokens.js';

const ADA: Subject = { tenant: 'acme', userId: 'ada', scopes: ['tasks:write'], token: 'ada.s.token' };

const seconds = () => Math.floor(Date.now() / 1000);
/** Ada's token, as identity would issue it now. */
const jwt = (claims: Record<string, unknown> = {}) =>
  new UnsecuredJWT({
    sub: 'ada',
    tenant: 'acme',
    user: 'ada',
    scope: 'tasks:write',
    act: { sub: 'gateway' },
    auth_time: 1000,
    iat: seconds(),
    exp: seconds() + 300,
    jti: randomUUID(),
    ...claims,
  }).encode();
const ada = (claims?: Record<string, unknown>): Subject => ({ ...ADA, token: jwt(claims) });

describe('tokens', () => {
  let server: FakeServer;
  let tokens: Tokens;
  let count: number;

  beforeEach(async () => {
    count = 0;
    server = await FakeServer.start();
    server.handle = (response) => json(response, { access_token: `t${(count += 1)}`, expires_in: 300 });
    tokens = new Tokens({
      identityUrl: server.url,
      clientId: 'agent-a',
      clientSecret: 'a:secret/with+signs',
    });
  });

  afterEach(async () => {
    await tokens.onApplicationShutdown();
    server.stop();
  });

  const answer = (status: number, body: object) => {
    server.handle = (response) => json(response, body, status);
  };

  it('of the service itself are asked for with its secret', async () => {
    expect(await tokens.authorization('tool-registry')).toBe('Bearer t1');
    const { path, form, headers } = server.requests[0]!;
    expect(path).toBe('/oauth/token');
    expect(Object.fromEntries(form)).toEqual({ grant_type: 'client_credentials', audience: 'tool-registry' });
    const [id, secret] = Buffer.from(headers.authorization!.slice(6), 'base64').toString().split(':');
    expect([id, decodeURIComponent(secret!)]).toEqual(['agent-a', 'a:secret/with+signs']);
  });

  it('for somebody are exchanged for theirs', async () => {
    await tokens.authorization('tool-registry', ADA);
    expect(Object.fromEntries(server.requests[0]!.form)).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      audience: 'tool-registry',
      subject_token: 'ada.s.token',
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    });
  });

  it('are used again, and by those alone for whom they are', async () => {
    const subjects = [
      ada(),
      ada({ tenant: 'other' }),
      ada({ sub: 'eve', user: 'eve' }),
      ada({ user: undefined }),
      ada({ scope: 'tasks:read' }),
      ada({ act: undefined }),
      ada({ act: { sub: 'orchestrator', act: { sub: 'gateway' } } }),
      ada({ auth_time: 2000 }),
    ];
    const variants: Array<[string, Subject?]> = [
      ['a'],
      ['b'],
      ['b', subjects[0]],
      ...subjects.map((subject): [string, Subject] => ['a', subject]),
    ];
    const ask = () =>
      Promise.all(variants.map(([audience, subject]) => tokens.authorization(audience, subject)));
    const first = await ask();
    expect(new Set(first).size).toBe(variants.length);
    expect(await ask()).toEqual(first);
    // What is under way is not mixed up either: everyone has what identity made of the own token.
    expect(new Set(server.requests.map(({ form }) => form.get('subject_token'))).size).toBe(
      subjects.length + 1,
    );
  });

  it('are shared by all tokens that say the same: the tasks of one user cost one', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => tokens.authorization('a', ada())));
    expect(new Set(all)).toEqual(new Set(['Bearer t1']));
    expect(await tokens.authorization('a', ada({ iat: seconds() - 5, exp: seconds() + 295 }))).toBe(
      'Bearer t1',
    );
    expect(server.requests).toHaveLength(1);
  });

  it('of a token that has expired are for its own work alone, once for a whole batch', async () => {
    const old = () => ada({ exp: seconds() - 1 });
    const [one, other] = [old(), old()];
    const batch = await Promise.all(Array.from({ length: 20 }, () => tokens.authorization('a', one)));
    expect(new Set(batch)).toEqual(new Set(['Bearer t1']));
    expect(await tokens.authorization('a', other)).toBe('Bearer t2');
    expect(await tokens.authorization('a', ada())).toBe('Bearer t3');
  });

  it('are fetched once for many who wait', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => tokens.authorization('a', ADA)));
    expect(new Set(all)).toEqual(new Set(['Bearer t1']));
  });

  it('are not kept into their last minute', async () => {
    answer(200, { access_token: 'short', expires_in: 60 });
    await tokens.authorization('a');
    await tokens.authorization('a');
    expect(server.requests).toHaveLength(2);
  });

  it('are not given to work that has no token', async () => {
    await expect(tokens.authorization('a', { ...ADA, token: null })).rejects.toMatchObject({
      code: 'unauthenticated',
      status: 401,
    });
    expect(server.requests).toHaveLength(0);
  });

  it.each([
    [500, {}, 'identity-unavailable', true],
    [503, { error: 'temporarily_unavailable' }, 'identity-unavailable', true],
    [429, { error: 'temporarily_unavailable' }, 'identity-unavailable', true],
    [401, { error: 'invalid_client' }, 'identity-unavailable', true],
    [400, { error: 'invalid_grant' }, 'unauthenticated', false],
    [400, { error: 'invalid_target' }, 'forbidden', false],
  ])('that are refused with %i %j end as %s', async (status, body, code, retryable) => {
    answer(status, body);
    await expect(tokens.authorization('a', ADA)).rejects.toMatchObject({ code, retryable });
    answer(200, { access_token: 'later', expires_in: 300 });
    expect(await tokens.authorization('a', ADA)).toBe('Bearer later');
  });

  it.each<[string, () => void]>([
    ['is not there', () => server.stop()],
    ['hangs up', () => (server.handle = (response) => response.destroy())],
    ['answers no JSON', () => (server.handle = (response) => response.writeHead(200).end('<html>'))],
  ])('of an identity service that %s are not available, and no secret is in the reason', async (_, fail) => {
    fail();
    const error = await tokens.authorization('a', ADA).catch((reason: Error) => reason);
    expect(error).toMatchObject({ code: 'identity-unavailable', status: 503 });
    for (const secret of ['ada.s.token', 'with+signs']) expect(String(error)).not.toContain(secret);
  });
});
