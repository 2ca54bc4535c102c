import type { BatonHome } from './home.js';
import { KAFKA_RECORD, startKafka, stopKafka } from './kafka.js';
import { POSTGRES_RECORD, startPostgres, stopPostgres } from './postgres.js';
import { isRunning } from './processes.js';
import { REDIS_RECORD, startRedis, stopRedis, type RedisRecord } from './redis.js';
import { SCHEMA_REGISTRY_RECORD, startSchemaRegistry, stopSchemaRegistry } from './schema-registry.js';
import type { RunningServer, ServerRecord } from './server.js';
import { devPort, type StackSettings } from './settings.js';

/** The servers that a stack may run itself, in the order in which they are named to people. */
export const SERVERS = ['postgres', 'redis', 'kafka', 'schemaRegistry'] as const;
export type ServerName = (typeof SERVERS)[number];

/** Which servers a stack runs itself. */
export type OwnServers = Record<ServerName, boolean>;

export interface Infrastructure {
  databaseUrl: string;
  redisUrl: string;
  /** Null without Kafka: hand-offs go over BullMQ. */
  kafkaBrokers: string | null;
  /** Null without a registry: the schemas of the repository. */
  schemaRegistryUrl: string | null;
  /** Ends what this call started, and nothing else. */
  stop(): Promise<void>;
}

/**
 * Which servers the stack runs itself: Postgres and Redis, and with `withKafka` Kafka and its schema registry, except those that
 * the person has: `DATABASE_URL`, `REDIS_URL`, `KAFKA_BROKERS`, `SCHEMA_REGISTRY_URL`.
 */
export function ownServers(settings: StackSettings, withKafka: boolean): OwnServers {
  return {
    postgres: !settings.databaseUrl,
    redis: !settings.redisUrl,
    kafka: withKafka && !settings.kafkaBrokers,
    schemaRegistry: withKafka && !settings.schemaRegistryUrl,
  };
}

/**
 * The servers for the stack of `home`: the user's own, and those of `own`, started here.
 * @param notice gets lines for people. @throws TerminalError as the servers' starts.
 */
export async function startInfrastructure(
  home: BatonHome,
  settings: StackSettings,
  own: OwnServers,
  notice: (line: string) => void,
): Promise<Infrastructure> {
  const servers = await startServers(home, settings.portOffset, own, notice);
  return {
    databaseUrl: settings.databaseUrl ?? servers.postgres!.url,
    redisUrl: settings.redisUrl ?? servers.redis!.url,
    kafkaBrokers: settings.kafkaBrokers ?? servers.kafka?.url ?? null,
    schemaRegistryUrl: settings.schemaRegistryUrl ?? servers.schemaRegistry?.url ?? null,
    stop: () => stopStartedHere(servers),
  };
}

type Servers = Record<ServerName, RunningServer | null>;

/** Starts the wanted servers on the stack's ports; one that runs already is left as it is. All or none are up afterwards. */
export async function startServers(
  { folder }: BatonHome,
  portOffset: number,
  wanted: OwnServers,
  notice: (line: string) => void,
): Promise<Servers> {
  const port = (name: Parameters<typeof devPort>[0]) => devPort(name, portOffset);
  const cached = { folder, cache: folder, notice };
  const starts: Record<ServerName, () => Promise<RunningServer>> = {
    postgres: () => startPostgres({ folder, port: port('postgres') }),
    redis: () => startRedis({ ...cached, port: port('redis') }),
    kafka: () => startKafka({ ...cached, port: port('kafka'), controllerPort: port('kafka-controller') }),
    schemaRegistry: () => startSchemaRegistry({ ...cached, port: port('schema-registry') }),
  };
  const servers: Servers = { postgres: null, redis: null, kafka: null, schemaRegistry: null };
  const outcomes = await Promise.allSettled(
    SERVERS.filter((name) => wanted[name]).map(async (name) => (servers[name] = await starts[name]())),
  );
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (!failed) return servers;
  await stopStartedHere(servers);
  throw failed.reason;
}

async function stopStartedHere(servers: Servers): Promise<void> {
  for (const name of SERVERS.toReversed()) if (servers[name]?.startedHere) await servers[name].stop();
}

interface RecordedServers {
  postgres: ServerRecord | null;
  redis: RedisRecord | null;
  kafka: ServerRecord | null;
  schemaRegistry: ServerRecord | null;
}

/** The servers that were started for `home` and not stopped; one that does not run any more has crashed. */
export function recordedInfrastructure(home: BatonHome): RecordedServers {
  return {
    postgres: home.read<ServerRecord>(POSTGRES_RECORD),
    redis: home.read<RedisRecord>(REDIS_RECORD),
    kafka: home.read<ServerRecord>(KAFKA_RECORD),
    schemaRegistry: home.read<ServerRecord>(SCHEMA_REGISTRY_RECORD),
  };
}

/** Which servers of `home` run now. */
export function runningInfrastructure(home: BatonHome): RecordedServers {
  const { postgres, redis, kafka, schemaRegistry } = recordedInfrastructure(home);
  return {
    postgres: isRunning(postgres) ? postgres : null,
    redis: isRunning(redis) ? redis : null,
    kafka: isRunning(kafka) ? kafka : null,
    schemaRegistry: isRunning(schemaRegistry) ? schemaRegistry : null,
  };
}

/** Ends the servers that `home` records; a server of the person's is recorded nowhere, so it stays. */
export async function stopInfrastructure(home: BatonHome): Promise<void> {
  await stopSchemaRegistry(home.folder);
  await stopKafka(home.folder);
  await stopRedis(home.folder);
  await stopPostgres(home.folder);
}
