import { JwtService } from '@nestjs/jwt';
import { LRUCache } from 'lru-cache';
import { messageOf, TerminalError } from '#libs/contracts';

/** Who calls: taken from the token alone. */
export interface Principal {
  /** The calling service or, for a person's own token, the user: `act.sub`, else `sub`. */
  caller: string;
  tenant: string;
  /** The person on whose behalf the call is made; null for work without one. */
  userId: string | null;
}

interface Claims {
  sub: string;
  tenant: string;
  user?: string;
  /** RFC 8693 actor: the service that calls on behalf of `sub`. */
  act?: { sub: string };
}

export const TOKEN_ISSUER = 'baton';
const LIFETIME_SECONDS = 300;
const CLOCK_SKEW_SECONDS = 60;

/**
 * Issues and verifies the tokens of internal calls: JWTs (RFC 7519), HS256 with the deployment's shared secret,
 * issuer and audience pinned, 5 minutes. One instance per service.
 */
export class Tokens {
  private readonly jwt: JwtService;
  private readonly issued = new LRUCache<string, string>({
    max: 10_000,
    ttl: (LIFETIME_SECONDS - 60) * 1000,
  });
  private readonly verified = new LRUCache<string, Principal>({ max: 10_000 });

  /** @param secret at least 32 characters. @param service the name under which this service calls others. */
  constructor(
    secret: string,
    private readonly service: string,
  ) {
    this.jwt = new JwtService({
      secret,
      signOptions: { algorithm: 'HS256', issuer: TOKEN_ISSUER },
      verifyOptions: { algorithms: ['HS256'], issuer: TOKEN_ISSUER, clockTolerance: CLOCK_SKEW_SECONDS },
    });
  }

  /** The `authorization` header for a call of `audience` on behalf of `on` (the service itself when its user is null). Cached. */
  authorization(audience: string, on: { tenant: string; userId: string | null }): string {
    const key = JSON.stringify([audience, on.tenant, on.userId]);
    let token = this.issued.get(key);
    if (!token) {
      const subject: Claims = on.userId
        ? { sub: on.userId, user: on.userId, tenant: on.tenant, act: { sub: this.service } }
        : { sub: this.service, tenant: on.tenant };
      token = this.issue(subject, audience, LIFETIME_SECONDS);
      this.issued.set(key, token);
    }
    return `Bearer ${token}`;
  }

  /** A person's token for development. `lifetimeSeconds` up to a day. */
  forUser(userId: string, tenant: string, audience: string[], lifetimeSeconds: number): string {
    return this.issue({ sub: userId, user: userId, tenant }, audience, Math.min(lifetimeSeconds, 86_400));
  }

  private issue(claims: Claims, audience: string | string[], lifetimeSeconds: number): string {
    return this.jwt.sign(claims, {
      audience,
      expiresIn: lifetimeSeconds,
      notBefore: 0,
      jwtid: crypto.randomUUID(),
    });
  }

  /** @throws TerminalError 401 `unauthenticated` for a missing, malformed, foreign or expired token. */
  verify(authorization: string | undefined, audience: string): Principal {
    const token = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1];
    if (!token) throw unauthenticated('A bearer token is required');
    const key = `${audience} ${token}`;
    const known = this.verified.get(key);
    if (known) return known;
    try {
      const claims = this.jwt.verify<object>(token, { audience });
      assertClaims(claims);
      const principal = {
        caller: claims.act?.sub ?? claims.sub,
        tenant: claims.tenant,
        userId: claims.user ?? null,
      };
      const ttl = claims.exp * 1000 - Date.now();
      if (ttl > 0) this.verified.set(key, principal, { ttl });
      return principal;
    } catch (error) {
      throw unauthenticated(`The token is not valid: ${messageOf(error)}`);
    }
  }
}

function assertClaims(claims: object): asserts claims is Claims & { exp: number } {
  const { exp, sub, tenant, user, act } = claims as Partial<Claims> & { exp?: number };
  const isName = (value: unknown) => typeof value === 'string' && value !== '';
  const wellFormed =
    exp && isName(sub) && isName(tenant) && (user === undefined || isName(user)) && (!act || isName(act.sub));
  if (!wellFormed) throw new Error('a claim is missing or no text');
}

function unauthenticated(detail: string): TerminalError {
  return new TerminalError('unauthenticated', detail, {
    status: 401,
    headers: { 'www-authenticate': 'Bearer' },
  });
}
