import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canTraverse, postgresAccount } from './account.js';
import { BatonHome } from './home.js';
import { freePort } from './ports.js';
import { POSTGRES_RECORD, startPostgres } from './postgres.js';
import type { RunningServer } from './server.js';
import { release, startReaper } from './reaper.js';
import { REDIS_RECORD, startRedis, type RunningRedis } from './redis.js';

export interface ThrowawayStack {
  databaseUrl: string;
  redisUrl: string;
  /** To start a killed server again: `startPostgres({ folder, port })`, `startRedis({ folder, port, … })`. */
  folder: string;
  postgres: RunningServer & { port: number };
  redis: RunningRedis & { port: number };
  /** Ends both and deletes the folder; safe to call twice. */
  stop(): Promise<void>;
}

const START_ATTEMPTS = 3;

/**
 * A Postgres and a Redis with real settings (fsync on) on free ports, their data in a temporary folder. They end, and the folder
 * goes, with `stop()` or with this process, however it ends.
 * @param cache folder that keeps a downloaded Redis. @param notice gets a line for people when the Redis is not the usual one.
 */
export async function startThrowawayStack(
  cache: string = BatonHome.fromEnv(process.env).folder,
  notice: (line: string) => void = () => undefined,
): Promise<ThrowawayStack> {
  const folder = temporaryFolder();
  const reaper = startReaper(folder, [
    { record: REDIS_RECORD, signal: 'TERM', command: 'redis' },
    { record: POSTGRES_RECORD, signal: 'INT', command: 'postgres' },
  ]);
  try {
    const postgres = await onFreePort((port) => startPostgres({ folder, port }));
    const redis = await onFreePort((port) => startRedis({ folder, port, cache, notice }));
    return {
      databaseUrl: postgres.url,
      redisUrl: redis.url,
      folder,
      postgres,
      redis,
      stop: () => release(reaper),
    };
  } catch (error) {
    await release(reaper);
    throw error;
  }
}

/** Below a parent that the account of Postgres can pass. */
function temporaryFolder(): string {
  const account = postgresAccount();
  const parent = canTraverse(account, tmpdir()) ? tmpdir() : '/var/tmp';
  const folder = mkdtempSync(join(parent, 'baton-'));
  if (account) chmodSync(folder, 0o711);
  return folder;
}

/** Between the look for a free port and its use, another process may take it. */
export async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T & { port: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    try {
      return { ...(await start(port)), port };
    } catch (error) {
      if (attempt === START_ATTEMPTS || (error as { code?: string }).code !== 'port-taken') throw error;
    }
  }
}
