import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { projectRoot, type Env } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';
import { NODE_FLAGS } from './node-flags.js';
import { freePort } from './ports.js';
import { endWithParent } from './reaper.js';

export interface SpawnOptions {
  /** The app below `apps/`, e.g. `agents/search`; or a program below `dist/`, e.g. `bench/src/tool.main.js`. */
  path: string;
  env: Env;
  /** Wait until it is alive, or until all its dependencies answer too. Default `ready`. */
  until?: 'health' | 'ready';
  /** Default 30,000. */
  timeoutMs?: number;
}

export interface SpawnedService {
  url: string;
  /** Of its gRPC door, if it has one. */
  grpcUrl: string;
  pid: number;
  /** Standard output and error so far; of a long one, the end. */
  output(): string;
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL after `graceMs` (default 15,000). Resolves when it has ended. */
  stop(graceMs?: number): Promise<void>;
  /** Resolves with exit code or signal when it has ended. */
  exited: Promise<number | NodeJS.Signals>;
}

const OUTPUT_CHARS = 1_000_000;

/**
 * Starts one app as a process of its own on free ports (or `env.PORT`, `env.GRPC_PORT`), with `env` and nothing of this process but PATH and HOME.
 * It ends with this process.
 * @throws TerminalError `service-failed` with its output when it ends or is not up within `timeoutMs`.
 */
export async function spawnService({
  path,
  env,
  until = 'ready',
  timeoutMs = 30_000,
}: SpawnOptions): Promise<SpawnedService> {
  const port = env['PORT'] ?? String(await freePort());
  const grpcPort = env['GRPC_PORT'] ?? String(await freePort());
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(process.execPath, [...NODE_FLAGS, programOf(path)], {
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      HOST: '127.0.0.1',
      BATON_ENV: 'development',
      SERVICE_URL: url,
      ...env,
      PORT: port,
      GRPC_PORT: grpcPort,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-OUTPUT_CHARS)));
  const exited = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  endWithParent(child);
  const stop = async (graceMs = 15_000) => {
    child.kill('SIGTERM');
    // A stopped process (SIGSTOP) takes SIGTERM only once it goes on.
    child.kill('SIGCONT');
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await exited;
    clearTimeout(timer);
  };
  try {
    await waitUntilUp(`${url}/${until}`, timeoutMs, exited);
  } catch (error) {
    await stop(0);
    throw new TerminalError('service-failed', `${path} is not up: ${String(error)}\n${output.slice(-4000)}`);
  }
  return {
    url,
    grpcUrl: `grpc://127.0.0.1:${grpcPort}`,
    pid: child.pid!,
    output: () => output,
    kill: (signal) => void child.kill(signal),
    stop,
    exited,
  };
}

async function waitUntilUp(
  url: string,
  timeoutMs: number,
  exited: Promise<number | NodeJS.Signals>,
): Promise<void> {
  let ended: number | NodeJS.Signals | undefined;
  void exited.then((code) => (ended = code));
  const deadline = Date.now() + timeoutMs;
  let cause = 'no answer';
  while (Date.now() < deadline) {
    if (ended !== undefined) throw new Error(`it ended with ${ended}`);
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(2500) });
      const body = await response.text();
      if (response.ok) return;
      cause = body.slice(0, 1000);
    } catch (error) {
      cause = String(error);
    }
    await sleep(50);
  }
  throw new Error(`not within ${timeoutMs / 1000} s: ${cause}`);
}

function programOf(path: string): string {
  return path.endsWith('.js')
    ? join(projectRoot(), 'dist', path)
    : join(projectRoot(), 'dist/apps', path, 'src/main.js');
}
