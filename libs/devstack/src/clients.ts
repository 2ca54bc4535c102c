import { createHmac } from 'node:crypto';
import type { Env } from '#libs/chassis';

/** What a client of the development identity service may do, where it differs from the call matrix. */
export interface ClientRights {
  scopes?: string[];
  audiences?: string[];
  token_seconds?: number;
}

/** The secret of one client, made from the stack's one secret: each service has its own, and nobody has to store them. */
export function clientSecretOf(stackSecret: string, client: string): string {
  return createHmac('sha256', stackSecret).update(`client ${client}`).digest('hex');
}

/** How a service authenticates at the identity service of this stack. */
export function clientEnvironment(stackSecret: string, client: string, identityUrl: string): Env {
  return {
    IDENTITY_URL: identityUrl,
    BATON_TOKEN_ISSUER: identityUrl,
    BATON_CLIENT_SECRET: clientSecretOf(stackSecret, client),
  };
}

/** What the identity service of a stack with these clients needs, besides its database. */
export function identityEnvironment(stackSecret: string, clients: Record<string, ClientRights>): Env {
  const list = Object.entries(clients).map(([id, rights]) => ({
    id,
    secret: clientSecretOf(stackSecret, id),
    ...rights,
  }));
  return {
    IDENTITY_CLIENTS: JSON.stringify(list),
    IDENTITY_KEY_SECRET: createHmac('sha256', stackSecret).update('signing keys').digest('hex'),
  };
}
