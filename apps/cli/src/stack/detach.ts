import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { projectRoot } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';
import {
  isRunning,
  NODE_FLAGS,
  own,
  runningInfrastructure,
  SERVERS,
  startServers,
  stopProcess,
  withLock,
  type OwnedProcess,
  type ServerName,
} from '#libs/devstack';
import { serverLabels, starting } from './labels.js';
import type { HostRecord, Stack } from './stack.js';

const START_MS = 120_000;
/** Exit code after Ctrl-C. */
export const INTERRUPTED = 130;

/**
 * The running host, started in the background when there is none; a server of its own that has died is started again. Two calls
 * at once start one.
 * @param withKafka whether a new host has Kafka, as one that has crashed had; one that runs is left as it is.
 * @param notice gets what the host says to people while it starts.
 * @throws TerminalError `host-failed`, `other-secret`, and those of the servers.
 */
export async function ensureHost(
  stack: Stack,
  withKafka: boolean,
  notice: (line: string) => void,
): Promise<HostRecord> {
  const running = stack.host();
  if (running) requireSameSecret(stack, running);
  if (running && deadServers(stack, running).length === 0) return running;
  return withLock(stack.home.path('up.lock'), async () => {
    const host = stack.host();
    if (!host) {
      const kafka = stack.hasKafka(withKafka);
      notice(starting(kafka));
      const leave = () => {
        notice('The services go on starting in the background: ./baton down stops them.');
        process.exit(INTERRUPTED);
      };
      process.once('SIGINT', leave);
      return startHost(stack, kafka, notice).finally(() => process.off('SIGINT', leave));
    }
    const dead = deadServers(stack, host);
    if (dead.length > 0) {
      notice(`Ended, starting again: ${serverLabels(dead).join(', ')} …`);
      await startServers(stack.home, host.portOffset, host.ownServers, notice);
    }
    return host;
  });
}

/** With another secret no service takes this shell for its client, and no host opens the stored signing keys. */
function requireSameSecret(stack: Stack, { settings: { secret } }: HostRecord): void {
  // A host from before this was recorded has none.
  if (secret === undefined || secret === stack.settingsDigest().secret) return;
  throw new TerminalError(
    'other-secret',
    'This shell has another BATON_STACK_SECRET than Baton was started with. Set that one; unset it if there was none. What is stored opens with that one alone.',
  );
}

function deadServers(stack: Stack, { ownServers }: HostRecord): ServerName[] {
  const running = runningInfrastructure(stack.home);
  return SERVERS.filter((name) => ownServers[name] && !running[name]);
}

function spawnHost(stack: Stack, withKafka: boolean, logFile: string): OwnedProcess {
  // What the last host said may be the reason of its end.
  if (existsSync(logFile)) renameSync(logFile, `${logFile}.1`);
  const log = openSync(logFile, 'w', 0o600);
  const program = join(projectRoot(), 'dist/apps/cli/src/main.js');
  const child = spawn(process.execPath, [...NODE_FLAGS, program, 'host', ...(withKafka ? ['--kafka'] : [])], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: projectRoot(),
    env: { ...stack.env, BATON_HOME: stack.home.folder },
  });
  closeSync(log);
  child.unref();
  const host = own(child.pid!);
  stack.recordStarting(host);
  return host;
}

/** One whose starter was killed meanwhile is waited for like an own one. */
async function startHost(
  stack: Stack,
  withKafka: boolean,
  notice: (line: string) => void,
): Promise<HostRecord> {
  const logFile = stack.home.path('host.log');
  const host = stack.startingHost() ?? spawnHost(stack, withKafka, logFile);
  const deadline = Date.now() + START_MS;
  let told = 0;
  const tell = () => {
    const lines = linesForPeople(readFileSync(logFile, 'utf8'));
    lines.slice(told).forEach(notice);
    told = lines.length;
  };
  while (isRunning(host)) {
    const record = stack.host();
    if (record?.pid === host.pid) {
      tell();
      return record;
    }
    if (Date.now() > deadline) {
      await stopProcess(host, 'SIGTERM', 10_000);
      throw new TerminalError(
        'host-failed',
        `The services did not start within ${START_MS / 1000} s; the log is ${logFile}`,
      );
    }
    tell();
    await sleep(50);
  }
  tell();
  throw new TerminalError('host-failed', `The services did not start; the log is ${logFile}`);
}

/** The whole lines of the host's log that are not the services' JSON. */
export function linesForPeople(log: string): string[] {
  return log
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.trim() !== '' && !line.startsWith('{'));
}
