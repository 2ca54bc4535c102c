import { TerminalError } from '#libs/contracts';
import type { Principal } from './principal.js';

/** RFC 8693 actor: the service that acts, and through whom it came. */
export interface Actor {
  sub: string;
  act?: Actor;
}

/** The claims of Baton's tokens beside the registered ones. */
export interface Claims {
  /** The user, `tenant:<id>` for a tenant's own key, or the service that calls for itself. */
  sub: string;
  tenant: string;
  /** Absent for a service and for a tenant's key. */
  user?: string;
  act?: Actor;
  /**
   * Beside `act`: seconds since the epoch at which the subject's own token last counted (OpenID Connect's name). Carried through all
   * exchanges, so that no hop makes a delegation younger.
   */
  auth_time?: number;
  /** Separated by spaces (RFC 8693). */
  scope?: string;
}

/** Seconds since the epoch. */
export interface Validity {
  iat: number;
  nbf?: number;
  exp: number;
}

/** Services through which one call may have come. */
export const MAX_ACTORS = 8;

/** Clocks may differ by so many seconds. */
export const CLOCK_SKEW_SECONDS = 60;

/** @throws TerminalError `unauthenticated` when a claim is missing or of another type */
export function principalOf(claims: object, token: string): Principal {
  const { sub, tenant, user, act, scope } = claims as Record<keyof Claims, unknown>;
  const actors = actorsOf(act);
  if (!isName(sub) || !isName(tenant) || !(user === undefined || isName(user)) || !actors)
    throw unauthenticated('The token is not valid: a claim is missing or malformed');
  if (scope !== undefined && typeof scope !== 'string')
    throw unauthenticated('The token is not valid: its scope is malformed');
  return {
    caller: actors[0] ?? sub,
    actors,
    tenant,
    userId: user ?? null,
    scopes: (scope ?? '').split(' ').filter(Boolean),
    token,
  };
}

/** Null when the claim is malformed or the chain too long. */
function actorsOf(act: unknown): string[] | null {
  const actors: string[] = [];
  for (let actor = act; actor !== undefined; actor = (actor as Actor).act) {
    if (typeof actor !== 'object' || actor === null || !isName((actor as Actor).sub)) return null;
    actors.push((actor as Actor).sub);
    if (actors.length > MAX_ACTORS) return null;
  }
  return actors;
}

const isName = (value: unknown): value is string => typeof value === 'string' && value !== '';

export function unauthenticated(message: string, cause?: unknown): TerminalError {
  return new TerminalError('unauthenticated', message, {
    status: 401,
    headers: { 'www-authenticate': 'Bearer' },
    cause,
  });
}
