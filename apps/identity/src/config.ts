import { clientSecret, DEFAULT_ISSUER } from '#libs/auth';
import { bounded, loadConfig, postgresUrl, str, TRUSTED_PROXIES_CONFIG, type Env } from '#libs/chassis';
import { LONGEST_MESSAGE_DAYS } from '#libs/contracts';
import { readClients, type Client } from './clients/client.js';

export interface IdentityConfig {
  databaseUrl: string;
  issuer: string;
  clients: Client[];
  /** Encrypts the private keys in Postgres. */
  keySecret: string;
  /** PKCS#8 PEM; null generates the first key. */
  signingKey: string | null;
  rotationHours: number;
  /** Age up to which an expired token still says for whom a service works. */
  delegationSeconds: number;
  /** Days for which messages may wait in their topics. */
  messageDays: number;
  trustedProxies: string[];
}

/** @throws TerminalError `configuration` naming every wrong variable */
export function readConfig(env: Env): IdentityConfig {
  const config = loadConfig(env, {
    DATABASE_URL: postgresUrl({ desc: 'Postgres; the service keeps to its schema `identity`' }),
    BATON_TOKEN_ISSUER: str({ default: DEFAULT_ISSUER, desc: 'The `iss` of all tokens' }),
    IDENTITY_CLIENTS: str({ desc: 'JSON: the services that may ask for tokens, with their secrets' }),
    IDENTITY_KEY_SECRET: clientSecret({ desc: 'Encrypts the signing keys in Postgres' }),
    IDENTITY_SIGNING_KEY: str({ default: '', desc: 'PKCS#8 PEM, imported as the first key' }),
    KEY_ROTATION_HOURS: bounded(1, 8760)({ default: 24, desc: 'Age at which the signing key is replaced' }),
    BATON_DELEGATION_SECONDS: bounded(
      300,
      604_800,
    )({
      default: 86_400,
      desc: 'Age up to which an expired token is exchanged for the service that it was issued to',
    }),
    MESSAGE_RETENTION_DAYS: bounded(
      1,
      60,
    )({
      default: LONGEST_MESSAGE_DAYS + 1,
      desc: 'How long messages may wait: so long the keys of their tokens are published',
    }),
    ...TRUSTED_PROXIES_CONFIG,
  });
  return {
    databaseUrl: config.DATABASE_URL,
    issuer: config.BATON_TOKEN_ISSUER,
    clients: readClients(config.IDENTITY_CLIENTS),
    keySecret: config.IDENTITY_KEY_SECRET,
    signingKey: config.IDENTITY_SIGNING_KEY || null,
    rotationHours: config.KEY_ROTATION_HOURS,
    delegationSeconds: config.BATON_DELEGATION_SECONDS,
    messageDays: config.MESSAGE_RETENTION_DAYS,
    trustedProxies: config.TRUSTED_PROXIES,
  };
}
