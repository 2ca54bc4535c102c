import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { startDaemon } from './daemon.js';
import { BatonHome } from './home.js';
import { withLock } from './lock.js';
import { requireFreePort } from './ports.js';
import type { RunningServer, ServerOptions, ServerRecord } from './postgres.js';
import { isRunning, stopProcess } from './processes.js';
import { findRedis, type RedisProgram } from './redis-binary.js';

export interface RedisRecord extends ServerRecord {
  kind: RedisProgram['kind'];
}

export interface RedisOptions extends ServerOptions {
  /** Folder that keeps a downloaded Redis for the next start. */
  cache: string;
  /** Gets a line for people when the Redis is not the usual one. */
  notice: (line: string) => void;
}

export interface RunningRedis extends RunningServer {
  kind: RedisProgram['kind'];
}

export const REDIS_RECORD = 'redis';
const READY_MS = 15_000;
const STOP_MS = 10_000;

/**
 * Redis on 127.0.0.1 with `noeviction` and nothing on disk, detached from this process. One that already runs for `folder`
 * is used again; one on another port is moved.
 * @throws TerminalError `port-taken`, `redis-failed`.
 */
export async function startRedis({ folder, port, cache, notice }: RedisOptions): Promise<RunningRedis> {
  const home = new BatonHome(folder);
  return withLock(home.path('redis.lock'), async () => {
    const running = (process: RedisRecord, startedHere: boolean): RunningRedis => ({
      url: `redis://127.0.0.1:${port}`,
      kind: process.kind,
      startedHere,
      process,
      stop: () => stopRedis(folder),
    });
    const recorded = home.read<RedisRecord>(REDIS_RECORD);
    if (recorded && isRunning(recorded)) {
      const answers =
        recorded.port === port &&
        (await pingRedis(port).then(
          () => true,
          () => false,
        ));
      if (answers) return running(recorded, false);
      await stopProcess(recorded, 'SIGTERM', STOP_MS);
    }
    await requireFreePort(port, 'Redis');
    const program = await findRedis(cache, notice);
    const workingFolder = home.path('redis');
    mkdirSync(workingFolder, { recursive: true });
    const server = await startDaemon({
      name: 'redis',
      command: program.command,
      args: [
        ...program.args,
        ...(program.kind === 'redis' ? redisOptions(port, workingFolder) : [String(port)]),
      ],
      env: program.env,
      logFile: home.path('redis.log'),
      probe: () => pingRedis(port),
      timeoutMs: READY_MS,
    });
    const record: RedisRecord = { ...server, port, kind: program.kind };
    home.write(REDIS_RECORD, record);
    return running(record, true);
  });
}

/** Ends the Redis recorded in `folder`, if it is still that process. */
export async function stopRedis(folder: string): Promise<void> {
  const home = new BatonHome(folder);
  const record = home.read<RedisRecord>(REDIS_RECORD);
  if (record) await stopProcess(record, 'SIGTERM', STOP_MS);
  home.forget(REDIS_RECORD);
}

function redisOptions(port: number, folder: string): string[] {
  const options = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: 'no',
    'maxmemory-policy': 'noeviction',
  };
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
}

/** Resolves when a Redis answers PING on 127.0.0.1 within a second. */
export function pingRedis(port: number, host = '127.0.0.1'): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host });
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(1000, () => fail(new Error('no answer within 1 s')));
    socket.once('error', fail);
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('close', () => reject(new Error('connection closed')));
    socket.once('data', (data) => {
      // An unauthenticated server that wants a password is up as well.
      if (/^(\+PONG|-NOAUTH)/.test(data.toString())) resolve();
      else reject(new Error(data.toString().trim()));
      socket.destroy();
    });
  });
}
