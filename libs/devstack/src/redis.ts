import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { startDaemon } from './daemon.js';
import { BatonHome } from './home.js';
import { requireFreePort } from './ports.js';
import { findRedis, type RedisProgram } from './redis-binary.js';
import {
  findOrLaunch,
  stopRecorded,
  type RunningServer,
  type ServerOptions,
  type ServerRecord,
} from './server.js';

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

/**
 * Redis on 127.0.0.1 with `noeviction` and nothing on disk, detached from this process. One that already runs for `folder`
 * is used again; one on another port is moved.
 * @throws TerminalError `port-taken`, `redis-failed`.
 */
export async function startRedis({ folder, port, cache, notice }: RedisOptions): Promise<RunningRedis> {
  const home = new BatonHome(folder);
  const { record, startedHere } = await findOrLaunch<RedisRecord>({
    home,
    name: REDIS_RECORD,
    port,
    ping: () => pingRedis(port),
    launch: async () => {
      await requireFreePort(port, 'Redis');
      const program = await findRedis(cache, notice);
      const workingFolder = home.path('redis');
      mkdirSync(workingFolder, { recursive: true });
      const options = program.kind === 'redis' ? redisOptions(port, workingFolder) : [String(port)];
      const server = await startDaemon({
        name: 'redis',
        command: program.command,
        args: [...program.args, ...options],
        env: program.env,
        logFile: home.path('redis.log'),
        probe: () => pingRedis(port),
        timeoutMs: READY_MS,
      });
      return { ...server, port, kind: program.kind };
    },
  });
  return {
    url: `redis://127.0.0.1:${port}`,
    kind: record.kind,
    startedHere,
    process: record,
    stop: () => stopRedis(folder),
  };
}

/** Ends the Redis recorded in `folder`, if it is still that process. */
export function stopRedis(folder: string): Promise<void> {
  return stopRecorded(new BatonHome(folder), REDIS_RECORD);
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
