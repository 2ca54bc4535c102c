import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { canTraverse, postgresAccount } from './account.js';
import { BatonHome } from './home.js';
import { freePort } from './ports.js';
import { startPostgres, type RunningServer } from './postgres.js';
import { startRedis, type RunningRedis } from './redis.js';

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
  const reaper = startReaper(folder);
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
async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T & { port: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    try {
      return { ...(await start(port)), port };
    } catch (error) {
      if (attempt === START_ATTEMPTS || (error as { code?: string }).code !== 'port-taken') throw error;
    }
  }
}

/** Waits for the end of its input, which closes when this process ends, SIGKILL included. */
const REAPER = `
cat >/dev/null
stop() {
  pid=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' "$folder/$1.json" 2>/dev/null)
  [ -n "$pid" ] || return 0
  if [ -r "/proc/$pid/cmdline" ] && ! tr '\\0' ' ' <"/proc/$pid/cmdline" | grep -q "$3"; then return 0; fi
  kill "-$2" "$pid" 2>/dev/null || return 0
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null
}
folder=$1
stop redis TERM redis
stop postgres INT postgres
rm -rf -- "$folder"
`;

function startReaper(folder: string): ChildProcess {
  const reaper = spawn('sh', ['-c', REAPER, 'baton-reaper', folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
  });
  reaper.unref();
  (reaper.stdin as Writable & { unref?(): void }).unref?.();
  return reaper;
}

async function release(reaper: ChildProcess): Promise<void> {
  if (reaper.exitCode !== null) return;
  reaper.ref();
  reaper.stdin?.end();
  await once(reaper, 'exit');
}
