import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, TerminalError } from '#libs/contracts';
import { isRunning, own, stopProcess, type OwnedProcess } from './processes.js';

interface DaemonOptions {
  name: string;
  command: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  account?: { uid: number; gid: number } | null;
  logFile: string;
  /** Rejects until the daemon answers. */
  probe: () => Promise<unknown>;
  timeoutMs: number;
  /** Called when the process runs, before it answers: whoever is killed while it waits has left a record of it. */
  onLaunched?: (daemon: OwnedProcess) => void;
}

const ATTEMPTS = 3;
const RETRY_MS = 1000;

/**
 * Starts a server in a session of its own, so that neither the launcher's end nor its terminal's Ctrl-C reaches it, and
 * waits until it answers. A server that ends at once is started again: a killed predecessor may still hold its memory.
 * @throws TerminalError `<name>-failed` with the end of its log.
 */
export async function startDaemon(options: DaemonOptions): Promise<OwnedProcess> {
  let failure = '';
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    if (attempt > 1) await sleep(RETRY_MS);
    try {
      return await launch(options);
    } catch (error) {
      failure = messageOf(error);
    }
  }
  throw new TerminalError(
    `${options.name}-failed`,
    `${options.name} did not start: ${failure}\n${lastLines(options.logFile)}`,
  );
}

async function launch({
  name,
  command,
  args,
  env,
  account,
  logFile,
  probe,
  timeoutMs,
  onLaunched,
}: DaemonOptions): Promise<OwnedProcess> {
  const log = openSync(logFile, 'w', 0o600);
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', log, log],
    env: env ?? process.env,
    cwd: '/',
    ...account,
  });
  closeSync(log);
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  child.unref();
  const daemon = own(child.pid!);
  onLaunched?.(daemon);
  const deadline = Date.now() + timeoutMs;
  let cause = 'no answer yet';
  while (isRunning(daemon)) {
    try {
      await probe();
      return daemon;
    } catch (error) {
      cause = messageOf(error);
    }
    if (Date.now() > deadline) {
      await stopProcess(daemon, 'SIGTERM', 5000);
      throw new Error(`${name} did not answer within ${timeoutMs / 1000} s (${cause})`);
    }
    await sleep(50);
  }
  throw new Error(`${name} ended at once`);
}

/** The end of a log, for an error message. */
export function lastLines(file: string, count = 8): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '';
  }
}
