import { JwtService } from '@nestjs/jwt';
import { LRUCache } from 'lru-cache';
import { BatonError, messageOf } from '#libs/contracts';
import { API_KEY } from './api-keys.js';
import { CLOCK_SKEW_SECONDS, principalOf, unauthenticated, type Validity } from './claims.js';
import type { IssuerKeys } from './issuer-keys.js';
import { isService, type Principal } from './principal.js';

/** Longer ones are refused unread. */
const MAX_TOKEN_CHARS = 8192;

interface Verified extends Validity {
  principal: Principal;
}

/** Verifies tokens of one issuer: RS256 alone, key by `kid`, issuer and audience pinned, clocks within a minute. */
export class TokenVerifier {
  private readonly jwt = new JwtService({});
  /** A signature is looked at once; what the token says of time, on every call. */
  private readonly verified = new LRUCache<string, Verified>({ max: 10_000 });

  constructor(
    private readonly keys: IssuerKeys,
    private readonly issuer: string,
  ) {}

  /**
   * @param authorization `Bearer <token>`
   * @param audience the name of the service that was called
   * @param at the moment as of which the token has to be valid; default now. For messages that waited: when the broker took them.
   * @throws TerminalError 401 `unauthenticated` for a missing, malformed, foreign or expired token
   * @throws RetryableError 503 `identity-unavailable` while the token's key cannot be looked up
   */
  async verify(
    authorization: string | undefined,
    audience: string,
    at: Date = new Date(),
  ): Promise<Principal> {
    const token = tokenIn(authorization);
    if (!token) throw unauthenticated('A bearer token is required');
    const key = keyOf(token, audience);
    let verified = this.verified.get(key);
    if (!verified) {
      verified = await this.verifySignature(token, audience);
      const ttl = (verified.exp + CLOCK_SKEW_SECONDS) * 1000 - Date.now();
      if (ttl > 0) this.verified.set(key, verified, { ttl });
    }
    assertValid(verified, at.getTime() / 1000);
    return verified.principal;
  }

  /** Whether the signature was found right before; parameters as of `verify`. */
  isKnown(authorization: string | undefined, audience: string): boolean {
    const token = tokenIn(authorization);
    return token !== undefined && this.verified.has(keyOf(token, audience));
  }

  private async verifySignature(token: string, audience: string): Promise<Verified> {
    if (token.length > MAX_TOKEN_CHARS) throw unauthenticated('The token is too long');
    const key = await this.keys.find(kidOf(token));
    try {
      const claims = this.jwt.verify<Validity & { aud: string | string[] }>(token, {
        secret: key as unknown as string,
        algorithms: ['RS256'],
        issuer: this.issuer,
        audience,
        // Time is looked at on every call.
        ignoreExpiration: true,
        ignoreNotBefore: true,
      });
      const { exp, nbf, iat } = claims;
      if (!isTime(exp) || !isTime(iat) || !(nbf === undefined || isTime(nbf)))
        throw unauthenticated('The token is not valid: it does not say when it expires');
      const principal = principalOf(claims, token);
      // Whom a service calls could pass such a token on as the service.
      if (isService(principal) && Array.isArray(claims.aud) && claims.aud.length > 1)
        throw unauthenticated("The token is not valid: a service's token is for one audience");
      return { exp, nbf, iat, principal };
    } catch (error) {
      if (error instanceof BatonError) throw error;
      throw unauthenticated(`The token is not valid: ${messageOf(error)}`);
    }
  }
}

const tokenIn = (authorization = ''): string | undefined => /^Bearer (\S+)$/i.exec(authorization)?.[1];
const keyOf = (token: string, audience: string): string => `${audience} ${token}`;

/** A header that names a key of its own (`jwk`, `jku`, `x5c`) is not listened to. */
function kidOf(token: string): string {
  if (API_KEY.test(token))
    throw unauthenticated('The token is not valid: it is an API key, which opens the gateway alone');
  try {
    const text = Buffer.from(token.split('.')[0] ?? '', 'base64url').toString();
    const { kid, alg } = JSON.parse(text) as { kid?: unknown; alg?: unknown };
    if (typeof kid === 'string' && kid !== '' && alg === 'RS256') return kid;
  } catch {
    // Answered below.
  }
  throw unauthenticated('The token is not valid: it is not an RS256 JWT with a key id');
}

function assertValid({ exp, nbf }: Validity, at: number): void {
  if (at >= exp + CLOCK_SKEW_SECONDS) throw unauthenticated('The token is not valid: it has expired');
  if (nbf !== undefined && at < nbf - CLOCK_SKEW_SECONDS)
    throw unauthenticated('The token is not valid: it is not valid yet');
}

const isTime = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
