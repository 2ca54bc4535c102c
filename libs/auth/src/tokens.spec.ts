import { FakeServer, json } from './issuer.fixture.js';
import type { Subject } from './principal.js';
import { Tokens } from './tokens.js';

const ADA: Subject = { tenant: 'acme', userId: 'ada', scopes: ['tasks:write'], token: 'ada.s.token' };

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
    const variants: Array<[string, Subject?]> = [
      ['a'],
      ['b'],
      ['a', ADA],
      ['b', ADA],
      ['a', { ...ADA, tenant: 'other' }],
      ['a', { ...ADA, userId: 'eve' }],
      ['a', { ...ADA, userId: null }],
      ['a', { ...ADA, scopes: ['tasks:read'] }],
    ];
    const ask = () =>
      Promise.all(variants.map(([audience, subject]) => tokens.authorization(audience, subject)));
    const first = await ask();
    expect(new Set(first).size).toBe(variants.length);
    expect(await ask()).toEqual(first);
    // Another token of the same person asks for nothing new.
    expect(await tokens.authorization('a', { ...ADA, token: 'newer' })).toBe(first[2]);
    expect(server.requests).toHaveLength(variants.length);
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
