import { createHash } from 'node:crypto';
import { decodeJwt } from 'jose';

/**
 * What the result of an exchange depends on, as a digest: two subject tokens of one key are exchanged for the same. Those that count are
 * told apart by what they say, without their own times and number, so that many tasks of one user share a token. One that has expired
 * stands for itself alone: how old its delegation is does not have to follow from its claims, and its work must not become younger
 * by another's.
 */
export function exchangeKey(audience: string, subjectToken: string): string {
  return createHash('sha256')
    .update(JSON.stringify([audience, claimsOf(subjectToken) ?? subjectToken]))
    .digest('base64');
}

/** Null for a token that stands for itself. */
function claimsOf(token: string): object | null {
  try {
    const { exp = 0, iat: _iat, nbf: _nbf, jti: _jti, ...claims } = decodeJwt(token);
    return exp > Date.now() / 1000 ? claims : null;
  } catch {
    return null;
  }
}
