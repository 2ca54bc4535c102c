/** Who calls, and for whom: taken from the verified token alone. */
export interface Principal {
  /** The calling service or, for a person's own token, the user: `act.sub`, else `sub`. */
  caller: string;
  /**
   * The services through which the call came, the caller first (RFC 8693 `act`, nested). Empty when nobody acts for the subject:
   * a service that calls for itself, or a person's own token.
   */
  actors: readonly string[];
  tenant: string;
  /** The person on whose behalf the call is made; null for work without one. */
  userId: string | null;
  scopes: readonly string[];
  /** The verified token itself, to be exchanged for the next call; never logged. */
  token: string | null;
}

/** On whose behalf a service acts. */
export type Subject = Pick<Principal, 'tenant' | 'userId' | 'scopes' | 'token'>;

/** The roles. `admin` implies the others, and its holder sees the work of all users of the tenant. */
export const SCOPES = ['tasks:read', 'tasks:write', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

export function hasScope({ scopes }: Pick<Principal, 'scopes'>, scope: Scope): boolean {
  return scopes.includes(scope) || scopes.includes('admin');
}

/** The user whose tasks a principal may see; null when it may see all of its tenant. */
export function onlyUserOf(principal: Pick<Principal, 'userId' | 'scopes'>): string | null {
  return hasScope(principal, 'admin') ? null : principal.userId;
}

/** The `sub` of a tenant's own key. Neither a service nor a user can have a colon in its name. */
const TENANT_PREFIX = 'tenant:';

/** The `sub` of a tenant's own key. */
export const tenantSubject = (tenant: string): string => `${TENANT_PREFIX}${tenant}`;

/**
 * Whether a service calls: it acts for somebody (`act`), or for itself (no `user`, and not a tenant's key). People may have any name,
 * also that of a service, so who is asked for a service asks this before `caller` means anything.
 */
export function isService({ caller, actors, userId }: Principal): boolean {
  return actors.length > 0 || (userId === null && !caller.startsWith(TENANT_PREFIX));
}

/**
 * Whether a principal is one of `allowed`: names of services, `agent-*` for a family. People and tenants that call with a token of
 * their own are written `user:<id>` and `tenant:<id>`, so that nobody passes for a service by its name.
 */
export function isAllowed(principal: Principal, allowed: readonly string[]): boolean {
  const { caller, userId } = principal;
  return matchesAny(isService(principal) || userId === null ? caller : `user:${caller}`, allowed);
}

/** `patterns` are names, or the beginning of a family's names followed by `*`. */
export function matchesAny(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
  );
}
