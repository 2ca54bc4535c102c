import { BatonHome } from './home.js';
import {
  POSTGRES_RECORD,
  startPostgres,
  stopPostgres,
  type RunningServer,
  type ServerRecord,
} from './postgres.js';
import { isRunning } from './processes.js';
import { REDIS_RECORD, startRedis, stopRedis, type RedisRecord } from './redis.js';
import { devPort, type StackSettings } from './settings.js';

export interface Infrastructure {
  databaseUrl: string;
  redisUrl: string;
  /** Ends what this call started, and nothing else. */
  stop(): Promise<void>;
}

/**
 * Postgres and Redis for the stack of `home`: the user's own where `DATABASE_URL`/`REDIS_URL` name them, else started here.
 * @param notice gets lines for people. @throws TerminalError as `startPostgres` and `startRedis`.
 */
export async function startInfrastructure(
  home: BatonHome,
  settings: StackSettings,
  notice: (line: string) => void,
): Promise<Infrastructure> {
  const wanted = { postgres: !settings.databaseUrl, redis: !settings.redisUrl };
  const { postgres, redis } = await startServers(home, settings.portOffset, wanted, notice);
  return {
    databaseUrl: settings.databaseUrl ?? postgres!.url,
    redisUrl: settings.redisUrl ?? redis!.url,
    stop: () => stopStartedHere([redis, postgres]),
  };
}

/** Which of the two servers a stack runs itself. */
export interface OwnServers {
  postgres: boolean;
  redis: boolean;
}

/** Starts the wanted servers on the stack's ports; one that runs already is left as it is. Both or none are up afterwards. */
export async function startServers(
  { folder }: BatonHome,
  portOffset: number,
  wanted: OwnServers,
  notice: (line: string) => void,
): Promise<{ postgres: RunningServer | null; redis: RunningServer | null }> {
  const [postgres, redis] = await Promise.allSettled([
    wanted.postgres ? startPostgres({ folder, port: devPort('postgres', portOffset) }) : null,
    wanted.redis ? startRedis({ folder, port: devPort('redis', portOffset), cache: folder, notice }) : null,
  ]);
  if (postgres.status === 'fulfilled' && redis.status === 'fulfilled')
    return { postgres: postgres.value, redis: redis.value };
  await stopStartedHere(
    [redis, postgres].map((server) => (server.status === 'fulfilled' ? server.value : null)),
  );
  throw postgres.status === 'rejected' ? postgres.reason : (redis as PromiseRejectedResult).reason;
}

async function stopStartedHere(servers: Array<RunningServer | null>): Promise<void> {
  for (const server of servers) if (server?.startedHere) await server.stop();
}

/** Which servers of `home` run now. */
export function runningInfrastructure(home: BatonHome): {
  postgres: ServerRecord | null;
  redis: RedisRecord | null;
} {
  const postgres = home.read<ServerRecord>(POSTGRES_RECORD);
  const redis = home.read<RedisRecord>(REDIS_RECORD);
  return { postgres: isRunning(postgres) ? postgres : null, redis: isRunning(redis) ? redis : null };
}

/** Ends the servers that `home` records; a server of `DATABASE_URL`/`REDIS_URL` is recorded nowhere, so it stays. */
export async function stopInfrastructure(home: BatonHome): Promise<void> {
  await stopRedis(home.folder);
  await stopPostgres(home.folder);
}
