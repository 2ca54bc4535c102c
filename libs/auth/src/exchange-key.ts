import { createHash } from 'node:crypto';
import { decodeJwt } from 'jose';
import { LRUCache } from 'lru-cache';

/** Tokens have up to 8 KiB. */
const MAX_KEYS = 1000;

/**
 * What the result of an exchange depends on, as a digest: two subject tokens of one key are exchanged for the same. Those that count are
 * told apart by what they say, without their own times and number, so that many tasks of one user share a token. One that has expired
 * stands for itself alone: how old its delegation is does not have to follow from its claims, and its work must not become younger
 * by another's.
 */
export class ExchangeKeys {
  /** Of tokens that count, until they have expired: a task shows the same one at each of its calls. */
  private readonly known = new LRUCache<string, string>({ max: MAX_KEYS });

  of(audience: string, subjectToken: string): string {
    const shown = `${audience} ${subjectToken}`;
    const known = this.known.get(shown);
    if (known) return known;
    const { claims, ttl } = claimsOf(subjectToken) ?? { claims: subjectToken, ttl: 0 };
    const key = createHash('sha256')
      .update(JSON.stringify([audience, claims]))
      .digest('base64');
    if (ttl > 0) this.known.set(shown, key, { ttl });
    return key;
  }
}

/** Null for a token that stands for itself; `ttl` in milliseconds. */
function claimsOf(token: string): { claims: object; ttl: number } | null {
  try {
    const { exp = 0, iat: _iat, nbf: _nbf, jti: _jti, ...claims } = decodeJwt(token);
    const ttl = exp * 1000 - Date.now();
    return ttl > 0 ? { claims, ttl } : null;
  } catch {
    return null;
  }
}
