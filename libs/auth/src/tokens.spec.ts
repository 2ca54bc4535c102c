import { createHmac, generateKeyPairSync, randomUUID } from 'node:crypto';
import { TOKEN_ISSUER, Tokens } from './tokens.js';

const SECRET = 'a-secret-of-the-deployment-0123456789';
const tokens = new Tokens(SECRET, 'agent-search');
const now = () => Math.floor(Date.now() / 1000);
const base64 = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

const CLAIMS = { iss: TOKEN_ISSUER, aud: 'gateway', sub: 'ada', user: 'ada', tenant: 'acme' };

/** A token made by hand, right in all that `claims` and `header` leave alone. */
function token(claims: object = {}, header: object = {}, secret: string = SECRET): string {
  const head = base64({ alg: 'HS256', typ: 'JWT', ...header });
  const body = base64({ ...CLAIMS, jti: randomUUID(), iat: now(), nbf: now(), exp: now() + 300, ...claims });
  return `${head}.${body}.${createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')}`;
}

const verify = (text: string | undefined, audience = 'gateway') => tokens.verify(text, audience);
const bearer = (text: string) => `Bearer ${text}`;

describe('a token', () => {
  it('tells who calls, for which tenant and on whose behalf', () => {
    const header = tokens.authorization('tool-registry', { tenant: 'acme', userId: 'ada' });
    expect(verify(header, 'tool-registry')).toEqual({
      caller: 'agent-search',
      tenant: 'acme',
      userId: 'ada',
    });
  });

  it('of a service that works for nobody names no user', () => {
    const header = tokens.authorization('tool-registry', { tenant: 'system', userId: null });
    expect(verify(header, 'tool-registry')).toEqual({
      caller: 'agent-search',
      tenant: 'system',
      userId: null,
    });
  });

  it('of a person opens each of its audiences and no other', () => {
    const person = bearer(tokens.forUser('ada', 'acme', ['gateway', 'agent-search'], 60));
    for (const audience of ['gateway', 'agent-search'])
      expect(verify(person, audience)).toEqual({ caller: 'ada', tenant: 'acme', userId: 'ada' });
    expect(() => verify(person, 'tool-registry')).toThrow(/not valid/);
  });

  it('is used again for the same call, and for no other audience, tenant or user', () => {
    const on = { tenant: 'acme', userId: 'ada' };
    expect(tokens.authorization('a', on)).toBe(tokens.authorization('a', on));
    const others = [
      tokens.authorization('b', on),
      tokens.authorization('a', { ...on, tenant: 'other' }),
      tokens.authorization('a', { ...on, userId: 'eve' }),
      tokens.authorization('a', { ...on, userId: null }),
    ];
    expect(new Set([tokens.authorization('a', on), ...others]).size).toBe(5);
  });

  it('made by hand is accepted, so that what follows is refused for its one fault', () => {
    expect(verify(bearer(token()))).toEqual({ caller: 'ada', tenant: 'acme', userId: 'ada' });
  });
});

describe('a token that is refused', () => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const none = () => `${base64({ alg: 'none', typ: 'JWT' })}.${base64({ ...CLAIMS, exp: now() + 300 })}.`;
  const tampered = () => {
    const [head, , signature] = token().split('.');
    return [head, base64({ ...CLAIMS, tenant: 'other', exp: now() + 300 }), signature].join('.');
  };

  it.each<[string, () => string | undefined]>([
    ['no header', () => undefined],
    ['an empty header', () => ''],
    ['another scheme', () => `Basic ${token()}`],
    ['no token', () => 'Bearer '],
    ['two tokens', () => `${bearer(token())} ${token()}`],
    ['not a JWT', () => bearer('abc')],
    ['three empty parts', () => bearer('..')],
    ['a body that is not JSON', () => bearer(`${base64({ alg: 'HS256' })}.${base64('{')}.x`)],
    ['alg none', () => bearer(none())],
    ['alg None with a signature', () => bearer(token({}, { alg: 'None' }))],
    ['another algorithm', () => bearer(token({}, { alg: 'HS512' }))],
    ['another secret', () => bearer(token({}, {}, 'another-secret-of-32-characters-0123'))],
    ['HS256 signed with a public key', () => bearer(token({}, {}, pem))],
    ['an embedded key', () => bearer(token({}, { jwk: { kty: 'oct', k: base64('mine') } }, 'mine'))],
    ['an unknown key id and secret', () => bearer(token({}, { kid: '../../dev/null' }, ''))],
    ['a body that was changed', () => bearer(tampered())],
    ['no signature', () => bearer(token().split('.').slice(0, 2).join('.') + '.')],
    ['expired', () => bearer(token({ exp: now() - 61 }))],
    ['not valid yet', () => bearer(token({ nbf: now() + 65 }))],
    ['another audience', () => bearer(token({ aud: 'tool-registry' }))],
    ['no audience', () => bearer(token({ aud: undefined }))],
    ['another issuer', () => bearer(token({ iss: 'somebody' }))],
    ['no issuer', () => bearer(token({ iss: undefined }))],
    ['no expiry', () => bearer(token({ exp: undefined }))],
    ['an expiry that is no number', () => bearer(token({ exp: 'never' }))],
    ['no subject', () => bearer(token({ sub: undefined }))],
    ['no tenant', () => bearer(token({ tenant: undefined }))],
    ['an empty tenant', () => bearer(token({ tenant: '' }))],
  ])('%s', (_, header) => {
    expect(() => verify(header())).toThrow(expect.objectContaining({ code: 'unauthenticated', status: 401 }));
  });

  it.each([
    ['a tenant', { tenant: ['acme'] }],
    ['a subject', { sub: { $ne: '' } }],
    ['a user', { user: 7 }],
    ['an actor', { act: { sub: {} } }],
  ])('%s that is no text', (_, claims) => {
    expect(() => verify(bearer(token(claims)))).toThrow(expect.objectContaining({ code: 'unauthenticated' }));
  });

  it('says how to authenticate', () => {
    expect(() => verify(undefined)).toThrow(
      expect.objectContaining({ headers: { 'www-authenticate': 'Bearer' } }),
    );
  });
});

describe('clocks that differ', () => {
  it.each([
    ['expired half a minute ago', { exp: now() - 30 }],
    ['valid from in half a minute', { nbf: now() + 30 }],
  ])('by up to a minute are tolerated: %s', (_, claims) => {
    expect(verify(bearer(token(claims)))).toMatchObject({ caller: 'ada' });
  });
});

describe('a token that was verified before', () => {
  afterEach(() => jest.restoreAllMocks());

  it('is refused once it has expired', () => {
    const header = bearer(token({ exp: now() + 5 }));
    verify(header);
    const [date, monotonic] = [Date.now() + 70_000, performance.now() + 70_000];
    jest.spyOn(Date, 'now').mockReturnValue(date);
    jest.spyOn(performance, 'now').mockReturnValue(monotonic);
    expect(() => verify(header)).toThrow(expect.objectContaining({ code: 'unauthenticated' }));
  });

  it('is refused for another audience', () => {
    const header = bearer(token());
    verify(header);
    expect(() => verify(header, 'tool-registry')).toThrow(
      expect.objectContaining({ code: 'unauthenticated' }),
    );
  });
});
