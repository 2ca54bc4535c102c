import { createHmac, createPublicKey, sign } from 'node:crypto';
import { TestSigner, type TokenClaims } from './test-signer.js';

const MINUTE = 60;
const encoded = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** One way in which a token can be wrong; null is no token at all. */
export interface ForgedToken {
  fault: string;
  token: string | null;
}

/**
 * Tokens that no door lets in (401 `unauthenticated`), each right in everything but its one fault.
 * @param right the claims with which a token is let in: the test shows that first
 */
export function forgedTokens(signer: TestSigner, right: TokenClaims): ForgedToken[] {
  const now = Math.floor(Date.now() / 1000);
  const signed = (claims: TokenClaims, header?: object) => signer.sign({ ...right, ...claims }, header);
  const [head = '', body = '', signature = ''] = signed({}).split('.');
  const stranger = new TestSigner(signer.issuer);
  const pem = publicPem(signer);
  return [
    { fault: 'no token', token: null },
    { fault: 'malformed: no JWT', token: 'x' },
    { fault: 'malformed: three parts of nothing', token: 'a.b.c' },
    { fault: 'malformed: empty parts', token: '..' },
    { fault: 'malformed: no JSON inside', token: `${encoded('{')}.${body}.${signature}` },
    { fault: 'malformed: too long', token: signed({ ballast: 'x'.repeat(9000) }) },
    { fault: 'alg none', token: `${encoded({ alg: 'none', typ: 'JWT' })}.${body}.` },
    { fault: 'alg none with the key id', token: `${changed(head, { alg: 'none' })}.${body}.` },
    { fault: 'alg None with the signature', token: `${changed(head, { alg: 'None' })}.${body}.${signature}` },
    {
      fault: 'HS256 signed with the public key',
      token: symmetric(changed(head, { alg: 'HS256' }), body, pem),
    },
    { fault: 'RS256 announced, HS256 signed', token: symmetric(head, body, pem) },
    { fault: 'RS512 instead of RS256', token: rs512(head, body, signer) },
    { fault: 'unknown kid', token: stranger.sign(right) },
    { fault: 'no kid', token: signed({}, { kid: undefined }) },
    { fault: 'kid that is a path', token: signed({}, { kid: '../../dev/null' }) },
    { fault: "another's key under our kid", token: stranger.sign(right, { kid: signer.publicJwk.kid }) },
    { fault: 'embedded jwk', token: stranger.sign(right, { jwk: stranger.publicJwk }) },
    {
      fault: 'embedded jwk under our kid',
      token: stranger.sign(right, { jwk: stranger.publicJwk, kid: signer.publicJwk.kid }),
    },
    { fault: 'keys by URL', token: stranger.sign(right, { jku: 'http://127.0.0.1:1/jwks.json' }) },
    {
      fault: 'claims that were changed',
      token: `${head}.${changed(body, { tenant: 'other' })}.${signature}`,
    },
    { fault: 'no signature', token: `${head}.${body}.` },
    {
      fault: 'expired',
      token: signed({ exp: now - 2 * MINUTE, iat: now - 7 * MINUTE, nbf: now - 7 * MINUTE }),
    },
    { fault: 'not valid yet', token: signed({ nbf: now + 2 * MINUTE }) },
    { fault: 'wrong aud', token: signed({ aud: 'somebody-else' }) },
    { fault: 'no aud', token: signed({ aud: undefined }) },
    {
      fault: "a service's for two audiences",
      token: signed({ act: { sub: 'gateway' }, aud: [String(right.aud), 'somebody-else'] }),
    },
    { fault: 'wrong iss', token: signed({ iss: 'https://somebody.example' }) },
    { fault: 'no iss', token: signed({ iss: undefined }) },
    { fault: 'no exp', token: signed({ exp: undefined }) },
    { fault: 'exp that is no number', token: signed({ exp: 'never' }) },
    { fault: 'no sub', token: signed({ sub: undefined }) },
    { fault: 'sub that is no text', token: signed({ sub: { $ne: '' } as unknown as string }) },
    { fault: 'no tenant', token: signed({ tenant: undefined }) },
    { fault: 'tenant that is no text', token: signed({ tenant: ['a'] as unknown as string }) },
    { fault: 'user that is no text', token: signed({ user: 7 as unknown as string }) },
    { fault: 'act without sub', token: signed({ act: { sub: {} } }) },
    { fault: 'act without end', token: signed({ act: chain(20) }) },
    { fault: 'scope that is no text', token: signed({ scope: ['admin'] as unknown as string }) },
  ];
}

function changed(part: string, changes: object): string {
  return encoded({ ...(JSON.parse(Buffer.from(part, 'base64url').toString()) as object), ...changes });
}

function symmetric(head: string, body: string, secret: string): string {
  return `${head}.${body}.${createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')}`;
}

/** The public key as an attacker would take it for a shared secret. */
function publicPem({ pem }: TestSigner): string {
  return createPublicKey(pem).export({ type: 'spki', format: 'pem' }).toString();
}

/** Signed as its header says, with the right key: only the algorithm is not the pinned one. */
function rs512(head: string, body: string, { pem }: TestSigner): string {
  const strong = changed(head, { alg: 'RS512' });
  return `${strong}.${body}.${sign('RSA-SHA512', Buffer.from(`${strong}.${body}`), pem).toString('base64url')}`;
}

const chain = (depth: number): object => ({
  sub: 'gateway',
  ...(depth > 1 ? { act: chain(depth - 1) } : {}),
});
