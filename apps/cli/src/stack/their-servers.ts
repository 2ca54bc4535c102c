import pg from 'pg';
import { loadConfig, postgresUrl, redisUrl, type Env } from '#libs/chassis';
import { messageOf, TerminalError } from '#libs/contracts';
import { pingSchemaRegistry, type PortName, type StackSettings } from '#libs/devstack';
import { withoutPassword } from './summary.js';

/** A server of the person's own: used, never started or stopped. */
export interface TheirServer {
  name: PortName;
  /** That names it. */
  variable: string;
  /** Without its password. */
  address: string;
  /** Rejects with the cause while it does not answer as the services will ask it. */
  ask: () => Promise<void>;
}

const TIMEOUT_MS = 3000;

export function theirServers(
  { databaseUrl, redisUrl, kafkaBrokers, schemaRegistryUrl }: StackSettings,
  env: Env,
): TheirServer[] {
  const server = (
    name: PortName,
    variable: string,
    address: string | null,
    ask: (address: string) => Promise<void>,
  ): TheirServer[] =>
    address === null
      ? []
      : [{ name, variable, address: withoutPassword(address), ask: async () => ask(address) }];
  return [
    ...server('postgres', 'DATABASE_URL', databaseUrl, askPostgres),
    ...server('redis', 'REDIS_URL', redisUrl, askRedis),
    ...server('kafka', 'KAFKA_BROKERS', kafkaBrokers, () => askKafka(env)),
    ...server('schema-registry', 'SCHEMA_REGISTRY_URL', schemaRegistryUrl, pingSchemaRegistry),
  ];
}

/** @throws TerminalError `server-unavailable` that names each one that does not answer, its variable and the fix. */
export async function requireAnswers(servers: TheirServer[]): Promise<void> {
  const silent = await Promise.all(
    servers.map(({ name, variable, address, ask }) =>
      ask().then(
        () => [],
        (error: unknown) => [
          `${variable}: no ${name} answers at ${address} (${messageOf(error)}). Start it, correct ${variable}, or unset it.`,
        ],
      ),
    ),
  );
  if (silent.flat().length > 0) throw new TerminalError('server-unavailable', silent.flat().join('\n'));
}

export async function askPostgres(connectionString: string): Promise<void> {
  loadConfig({ DATABASE_URL: connectionString }, { DATABASE_URL: postgresUrl() });
  const client = new pg.Client({
    connectionString,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function askRedis(url: string): Promise<void> {
  loadConfig({ REDIS_URL: url }, { REDIS_URL: redisUrl() });
  const { Redis } = await import('ioredis');
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: TIMEOUT_MS,
    disconnectTimeout: 100,
    commandTimeout: TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let cause: Error | undefined;
  redis.on('error', (error) => (cause = error));
  try {
    await redis.ping();
  } catch (error) {
    // What the command says of a lost connection is not why it was lost.
    throw cause ?? error;
  } finally {
    redis.disconnect();
  }
}

async function askKafka(env: Env): Promise<void> {
  const { HANDOFF_CONFIG, kafkaClient } = await import('#libs/messaging');
  const { createLogger } = await import('#libs/telemetry');
  const config = loadConfig(env, HANDOFF_CONFIG);
  const admin = kafkaClient(config, 'baton', createLogger('baton', 'silent'), { retries: 0 }).admin();
  try {
    await admin.connect();
    await admin.describeCluster();
  } finally {
    await admin.disconnect().catch(() => undefined);
  }
}
