import { hasScope, type Principal } from '#libs/auth';
import { TerminalError } from '#libs/contracts';

/** The tenant of services that call for themselves. */
export const SYSTEM_TENANT = 'system';

/** Who runs the deployment: an administrator who belongs to no customer's tenant. */
export function isOperator(principal: Principal): boolean {
  return principal.tenant === SYSTEM_TENANT && hasScope(principal, 'admin');
}

/** @throws TerminalError 403 `forbidden` */
export function requireOperator(principal: Principal, what: string): void {
  if (!isOperator(principal))
    throw new TerminalError('forbidden', `Only the operator may ${what}`, { status: 403 });
}
