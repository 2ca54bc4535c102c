import { unauthenticated } from './claims.js';
import { bearer, ISSUER, newKey } from './issuer.fixture.js';
import { TokenVerifier } from './token-verifier.js';

const key = newKey();
const looksUp: string[] = [];
const verifier = new TokenVerifier(
  {
    find: async (kid) => {
      looksUp.push(kid);
      if (kid !== key.kid) throw unauthenticated('unknown');
      return key.publicKey;
    },
    ready: async () => undefined,
  },
  ISSUER,
);
const verify = (header: string | undefined, audience = 'a-service', at?: Date) =>
  verifier.verify(header, audience, at);
const REFUSED = expect.objectContaining({ code: 'unauthenticated', status: 401 });
const seconds = (shift: number) => Math.floor(Date.now() / 1000) + shift;
const inSeconds = (shift: number) => new Date(Date.now() + shift * 1000);

// That every single fault of a token is refused is shown by libs/testing/src/forged-tokens.spec.ts.
describe('a token', () => {
  it('that is an API key is told where it belongs', async () => {
    const apiKey = `baton_${'0'.repeat(16)}_${'f'.repeat(64)}`;
    await expect(verify(`Bearer ${apiKey}`)).rejects.toThrow(
      'it is an API key, which opens the gateway alone',
    );
    await expect(verify(`Bearer ${apiKey}`)).rejects.toEqual(REFUSED);
  });

  it('of a person tells who it is', async () => {
    const header = await bearer(key);
    expect(await verify(header)).toEqual({
      caller: 'ada',
      actors: [],
      tenant: 'acme',
      userId: 'ada',
      scopes: ['tasks:read', 'tasks:write'],
      token: header.slice('Bearer '.length),
    });
  });

  it('of a service that acts for a person tells both, and through whom it came', async () => {
    const act = { sub: 'agent-search', act: { sub: 'gateway' } };
    expect(await verify(await bearer(key, { act }))).toMatchObject({
      caller: 'agent-search',
      actors: ['agent-search', 'gateway'],
      userId: 'ada',
    });
  });

  it('of a service that acts for itself names no user', async () => {
    const header = await bearer(key, { sub: 'gateway', user: undefined, tenant: 'system', scope: undefined });
    expect(await verify(header)).toMatchObject({ caller: 'gateway', actors: [], userId: null, scopes: [] });
  });

  it.each([
    ['acts for a person', { act: { sub: 'gateway' } }],
    ['acts for itself', { sub: 'gateway', user: undefined, tenant: 'system' }],
  ])('of a service that %s is for one audience', async (_, claims) => {
    expect(await verify(await bearer(key, { ...claims, aud: ['a-service'] }))).toMatchObject({
      caller: 'gateway',
    });
    const header = await bearer(key, { ...claims, aud: ['a-service', 'another'] });
    await expect(verify(header)).rejects.toEqual(REFUSED);
  });

  it('of a person opens each of its audiences and no other, also when it was verified for one before', async () => {
    const header = await bearer(key, { aud: ['a-service', 'another'] });
    for (const audience of ['a-service', 'another', 'a-service'])
      expect(await verify(header, audience)).toMatchObject({ caller: 'ada' });
    await expect(verify(header, 'a-third')).rejects.toEqual(REFUSED);
  });

  it('is verified once', async () => {
    const header = await bearer(key);
    const before = looksUp.length;
    await verify(header);
    await verify(header);
    expect(looksUp.length - before).toBe(1);
  });

  it.each([undefined, '', 'Basic YTpi', 'Bearer', 'Bearer ', 'Bearer a b', 'bearer x'])(
    'is not %j',
    async (header) => {
      await expect(verify(header)).rejects.toEqual(REFUSED);
      await expect(verify(header)).rejects.toMatchObject({ headers: { 'www-authenticate': 'Bearer' } });
    },
  );
});

describe('time', () => {
  it.each([
    ['expired half a minute ago', { exp: seconds(-30) }],
    ['valid from in half a minute', { nbf: seconds(30) }],
  ])('may differ by up to a minute: %s', async (_, claims) => {
    expect(await verify(await bearer(key, claims))).toMatchObject({ caller: 'ada' });
  });

  it('is looked at again on every call', async () => {
    const header = await bearer(key, { exp: seconds(5) });
    await verify(header);
    await expect(verify(header, 'a-service', inSeconds(66))).rejects.toEqual(REFUSED);
    expect(await verify(header)).toMatchObject({ caller: 'ada' });
  });

  it('is that of the broker for a message that waited', async () => {
    const header = await bearer(key, { iat: seconds(-4000), nbf: seconds(-4000), exp: seconds(-3700) });
    await expect(verify(header)).rejects.toEqual(REFUSED);
    expect(await verify(header, 'a-service', inSeconds(-3800))).toMatchObject({ caller: 'ada' });
    // Taken before the token was made: not this token's message.
    await expect(verify(header, 'a-service', inSeconds(-5000))).rejects.toEqual(REFUSED);
  });
});
