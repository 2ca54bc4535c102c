import { TokenVerifier } from '#libs/auth';
import { createPublicKey } from 'node:crypto';
import type { RunningService } from '#libs/chassis';
import { forgedTokens } from '#libs/testing';
import {
  basic,
  claimsOf,
  clientCredentials,
  exchange,
  IdentityFixture,
  post,
  secretOf,
  type TokenAnswer,
} from './identity.fixture.js';

let fixture: IdentityFixture;
let running: RunningService;
let url: string;

beforeAll(async () => {
  fixture = await IdentityFixture.open();
  running = await fixture.start();
  url = running.url;
}, 60_000);
afterAll(() => fixture?.stop());

const seconds = () => Math.floor(Date.now() / 1000);
/** A person's token as it reaches an agent: through the gateway. */
const RIGHT = {
  sub: 'ada',
  user: 'ada',
  tenant: 'acme',
  aud: 'agent-search',
  act: { sub: 'gateway' },
  scope: 'tasks:read tasks:write',
};
const subject = (claims: object = {}) => fixture.signer.sign({ ...RIGHT, ...claims });

function expectRefused(answer: TokenAnswer, status: number, error: string): void {
  expect([answer.status, answer.body.error]).toEqual([status, error]);
  expect(answer.body).toEqual({ error, error_description: expect.stringMatching(/./) });
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.headers.get('content-type')).toContain('application/json');
}

describe('client credentials', () => {
  it('give a token of five minutes that the published key verifies', async () => {
    const { status, headers, body } = await clientCredentials(url, 'gateway', 'agent-search');
    expect(status).toBe(200);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(body).toMatchObject({
      token_type: 'Bearer',
      expires_in: 300,
      scope: 'tasks:read tasks:write admin',
    });
    const claims = claimsOf(body.access_token);
    expect(claims).toMatchObject({
      iss: fixture.signer.issuer,
      aud: 'agent-search',
      sub: 'gateway',
      tenant: 'system',
      jti: expect.any(String),
      nbf: expect.any(Number),
    });
    expect(claims.exp - claims.iat).toBe(300);
    expect(claims).not.toHaveProperty('user');
    const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as {
      keys: Array<Record<string, unknown>>;
    };
    const verifier = new TokenVerifier(
      {
        find: async (kid) => createPublicKey({ key: keys.find((key) => key['kid'] === kid)!, format: 'jwk' }),
        ready: async () => undefined,
      },
      fixture.signer.issuer,
    );
    expect(await verifier.verify(`Bearer ${body.access_token}`, 'agent-search')).toMatchObject({
      caller: 'gateway',
      userId: null,
    });
  });

  it('may come in the body', async () => {
    const credentials = { client_id: 'gateway', client_secret: secretOf('gateway') };
    const form = { grant_type: 'client_credentials', audience: 'agent-search', ...credentials };
    expect((await post(url, form)).status).toBe(200);
    expectRefused(await post(url, form, basic('gateway')), 400, 'invalid_request');
  });

  it('give no more scopes than were asked for, and none that the client lacks', async () => {
    expect((await clientCredentials(url, 'gateway', 'agent-search', 'tasks:read')).body['scope']).toBe(
      'tasks:read',
    );
    expect((await clientCredentials(url, 'reader', 'agent-search', 'tasks:read admin')).body['scope']).toBe(
      'tasks:read',
    );
    expectRefused(await clientCredentials(url, 'reader', 'agent-search', 'admin'), 400, 'invalid_scope');
  });

  it('are for one audience', async () => {
    const form = 'grant_type=client_credentials&audience=agent-search&audience=agent-email';
    expectRefused(await post(url, form, basic('gateway')), 400, 'invalid_request');
    const exchanged = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: subject(),
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      audience: 'tool-registry',
    });
    expect((await post(url, exchanged.toString(), basic('agent-search'))).status).toBe(200);
    exchanged.append('audience', 'orchestrator');
    expectRefused(await post(url, exchanged.toString(), basic('agent-search')), 400, 'invalid_request');
  });

  it.each([
    ['gateway', 'agent-search', undefined],
    ['orchestrator', 'agent-search', undefined],
    ['agent-search', 'tool-registry', undefined],
    ['agent-search', 'orchestrator', undefined],
    ['tool-registry', 'tools-knowledge', undefined],
    ['gateway', 'tool-registry', 'invalid_target'],
    ['gateway', 'identity', 'invalid_target'],
    ['agent-search', 'agent-email', 'invalid_target'],
    ['agent-search', 'tools-knowledge', 'invalid_target'],
    ['tool-registry', 'agent-search', 'invalid_target'],
    ['reader', 'agent-email', 'invalid_target'],
    ['cli', 'identity', undefined],
  ])('%s calling %s: %s', async (client, audience, error) => {
    expect((await clientCredentials(url, client, audience)).body.error).toBe(error);
  });
});

describe('a request that is refused', () => {
  const FORM = 'grant_type=client_credentials&audience=agent-search';

  it.each<[string, Record<string, string>]>([
    ['no credentials', {}],
    ['a wrong secret', basic('gateway', 'x'.repeat(40))],
    ['an unknown client', basic('nobody')],
    ['the secret of another', basic('gateway', secretOf('cli'))],
    ['no secret', basic('gateway', '')],
    ['credentials that are not base64', { authorization: 'Basic !!!' }],
    ['credentials without a colon', { authorization: `Basic ${Buffer.from('gateway').toString('base64')}` }],
    ['a bad escape', { authorization: `Basic ${Buffer.from('gateway:%zz').toString('base64')}` }],
    ['a bearer token', { authorization: 'Bearer x' }],
  ])('with 401 invalid_client: %s', async (_, headers) => {
    const answer = await post(url, FORM, headers);
    expectRefused(answer, 401, 'invalid_client');
    expect(answer.headers.get('www-authenticate')).toMatch(/^Basic /);
  });

  it.each([
    ['no grant', 'audience=agent-search', 'invalid_request'],
    ['another grant', 'grant_type=password&audience=agent-search', 'unsupported_grant_type'],
    ['no audience', 'grant_type=client_credentials', 'invalid_request'],
    ['an audience that is no name', 'grant_type=client_credentials&audience=%2A', 'invalid_request'],
    ['two grants', `${FORM}&grant_type=client_credentials`, 'invalid_request'],
    ['two scopes', `${FORM}&scope=a&scope=b`, 'invalid_request'],
    ['a NUL', `${FORM}&scope=%00`, 'invalid_request'],
    ['20 audiences', `${FORM}${'&audience=agent-x'.repeat(20)}`, 'invalid_request'],
    [
      'an exchange of nothing',
      'grant_type=urn:ietf:params:oauth:grant-type:token-exchange&audience=a',
      'invalid_request',
    ],
    ['nothing', '', 'invalid_request'],
  ])('with 400: %s', async (_, form, error) => {
    expectRefused(await post(url, form, basic('gateway')), 400, error);
  });

  it.each([
    ['JSON', 415, { 'content-type': 'application/json' }, '{}'],
    ['100 KB', 413, {}, `scope=${'x'.repeat(100_000)}`],
    ['no UTF-8', 400, {}, Buffer.from([0xff, 0xfe])],
  ])('as RFC 6749 says: %s', async (_, status, headers, body) => {
    const response = await fetch(`${url}/oauth/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...basic('gateway'), ...headers },
      body,
    });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: 'invalid_request' });
    expect(response.headers.get('cache-control')).toBe('no-store');
  });
});

describe('an exchange', () => {
  it('lets a service act for the person, and keeps through whom it came', async () => {
    const { status, body } = await exchange(url, 'agent-search', subject());
    expect(status).toBe(200);
    expect(body).toMatchObject({
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      expires_in: 300,
    });
    expect(claimsOf(body.access_token)).toMatchObject({
      sub: 'ada',
      user: 'ada',
      tenant: 'acme',
      aud: 'tool-registry',
      act: { sub: 'agent-search', act: { sub: 'gateway' } },
      scope: 'tasks:read tasks:write',
    });
  });

  it('gives what the subject has, the request asks for and the client may carry', async () => {
    const granted = async (client: string, claims: object, more: Record<string, string> = {}) =>
      (
        await exchange(url, client, subject({ aud: client, ...claims }), {
          audience: 'agent-search',
          ...more,
        })
      ).body['scope'];
    expect(await granted('gateway', { scope: 'admin tasks:read' })).toBe('admin tasks:read');
    expect(await granted('gateway', { scope: 'tasks:read' }, { scope: 'admin tasks:read' })).toBe(
      'tasks:read',
    );
    expect(await granted('orchestrator', { scope: 'admin tasks:read' })).toBe('tasks:read');
    expect(await granted('orchestrator', { scope: undefined })).toBe('');
    const none = await exchange(url, 'agent-search', subject({ scope: 'tasks:read' }), { scope: 'admin' });
    expectRefused(none, 400, 'invalid_scope');
  });

  it('of a token that has expired is for the client to which it was issued, up to a day', async () => {
    const old = (ageSeconds: number, claims: object = {}) =>
      subject({
        iat: seconds() - ageSeconds,
        nbf: seconds() - ageSeconds,
        exp: seconds() - ageSeconds + 300,
        ...claims,
      });
    expect((await exchange(url, 'agent-search', old(3600))).status).toBe(200);
    expect((await exchange(url, 'agent-search', old(86_000))).status).toBe(200);
    expectRefused(await exchange(url, 'agent-search', old(86_500)), 400, 'invalid_grant');
    expectRefused(await exchange(url, 'agent-email', old(3600)), 400, 'invalid_grant');
  });

  it('does not make a delegation younger, however many hops it takes', async () => {
    const at = seconds() - 80_000;
    const first = await exchange(url, 'agent-search', subject({ auth_time: at }));
    const second = await exchange(url, 'tool-registry', first.body.access_token, {
      audience: 'tools-knowledge',
    });
    for (const { body } of [first, second])
      expect(claimsOf(body.access_token)).toMatchObject({ auth_time: at });
    // Fresh, but not the work for which it is.
    const old = subject({ auth_time: seconds() - 86_500 });
    expectRefused(await exchange(url, 'agent-search', old), 400, 'invalid_grant');
  });

  it("begins a delegation when the person's own token last counted", async () => {
    const since = async (shift: number) => {
      const iat = seconds() - 9000;
      const own = subject({ act: undefined, iat, nbf: iat, exp: seconds() + shift });
      return claimsOf((await exchange(url, 'agent-search', own)).body.access_token)['auth_time'] as number;
    };
    expect(Math.abs((await since(200)) - seconds())).toBeLessThan(5);
    expect(Math.abs((await since(-5000)) - (seconds() - 5000))).toBeLessThan(5);
  });

  it('of a token that was issued to another is refused', async () => {
    expectRefused(await exchange(url, 'agent-email', subject()), 400, 'invalid_grant');
  });

  it('for a service that the client may not call is refused', async () => {
    expectRefused(
      await exchange(url, 'agent-search', subject(), { audience: 'agent-email' }),
      400,
      'invalid_target',
    );
  });

  it('does not go round in circles', async () => {
    const chain = (depth: number): object => ({
      sub: 'gateway',
      ...(depth > 1 ? { act: chain(depth - 1) } : {}),
    });
    expect((await exchange(url, 'agent-search', subject({ act: chain(7) }))).status).toBe(200);
    expectRefused(await exchange(url, 'agent-search', subject({ act: chain(8) })), 400, 'invalid_request');
  });

  it('of anything but a right token is refused', async () => {
    expect((await exchange(url, 'agent-search', subject())).status).toBe(200);
    for (const { fault, token } of forgedTokens(fixture.signer, RIGHT)) {
      // An old token is taken by the client to which it was issued.
      if (token === null || fault === 'expired' || fault === 'malformed: too long') continue;
      const { status, body } = await exchange(url, 'agent-search', token);
      expect([fault, status, body.error]).toEqual([fault, 400, 'invalid_grant']);
    }
  });

  it.each([
    [{ subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' }],
    [{ requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
    [{ actor_token: 'x' }],
    [{ subject_token: '' }],
  ])('with %j is refused', async (more) => {
    expectRefused(await exchange(url, 'agent-search', subject(), more), 400, 'invalid_request');
  });
});

describe('discovery', () => {
  it('tells where everything is', async () => {
    for (const name of ['openid-configuration', 'oauth-authorization-server'])
      expect(await (await fetch(`${url}/.well-known/${name}`)).json()).toMatchObject({
        issuer: fixture.signer.issuer,
        token_endpoint: `${fixture.signer.issuer}/oauth/token`,
        jwks_uri: `${fixture.signer.issuer}/.well-known/jwks.json`,
      });
  });

  it('publishes the current key and the next, and nothing private', async () => {
    const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: object[] };
    expect(keys).toHaveLength(2);
    expect(keys).toContainEqual(fixture.signer.publicJwk);
    for (const key of keys) expect(Object.keys(key).sort()).toEqual(['alg', 'e', 'kid', 'kty', 'n', 'use']);
  });
});

it('counts requests by grant and outcome', async () => {
  const text = await (await fetch(`${url}/metrics`)).text();
  for (const labels of [
    'grant="client_credentials",outcome="issued"',
    'grant="token_exchange",outcome="invalid_grant"',
    'grant="unknown",outcome="invalid_client"',
  ])
    expect(text).toMatch(new RegExp(`^identity_token_requests_total\\{${labels}\\} [1-9]`, 'm'));
});

it("limits by the address that a trusted proxy tells, and by nobody else's word", async () => {
  const [direct, proxied] = await Promise.all([
    fixture.start(),
    fixture.start({ TRUSTED_PROXIES: 'loopback' }),
  ]);
  const answers = async ({ url: door }: RunningService) => {
    const statuses = new Set<number>();
    for (let i = 0; i < 35; i += 1) {
      const from = { 'x-forwarded-for': `192.0.2.${i}` };
      const apiKey = `baton_${'0'.repeat(16)}_${String(i).padStart(64, '0')}`;
      statuses.add((await post(door, 'x=', { ...basic('nobody'), ...from })).status);
      statuses.add((await fetch(`${door}/api-keys`, { headers: { 'x-api-key': apiKey, ...from } })).status);
    }
    return statuses;
  };
  expect(await answers(direct)).toEqual(new Set([401, 429]));
  expect(await answers(proxied)).toEqual(new Set([401]));
});

it('limits failed authentications, and locks no one out', async () => {
  const statuses = [];
  for (let i = 0; i < 40; i += 1)
    statuses.push(
      (await post(url, 'grant_type=client_credentials&audience=agent-search', basic('nobody'))).status,
    );
  expect(new Set(statuses)).toEqual(new Set([401, 429]));
  const refused = await post(url, 'grant_type=client_credentials', basic('gateway', 'wrong'));
  expect(refused.status).toBe(429);
  expect(refused.body.error).toBe('temporarily_unavailable');
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await clientCredentials(url, 'gateway', 'agent-search')).status).toBe(200);
});
