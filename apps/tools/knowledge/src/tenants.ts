/** The tenant whose documents everybody can find. */
export const SHARED_TENANT = '*';

/** Whose documents a caller of this tenant can find. */
export function visibleTo(tenant: string): string[] {
  return tenant === SHARED_TENANT ? [SHARED_TENANT] : [tenant, SHARED_TENANT];
}
