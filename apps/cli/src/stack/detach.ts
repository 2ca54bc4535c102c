import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { projectRoot } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';
import { isRunning, own, runningInfrastructure, startServers, stopProcess, withLock } from '#libs/devstack';
import type { HostRecord, Stack } from './stack.js';

const START_MS = 120_000;

/**
 * The running host, started in the background when there is none; a Postgres or Redis of its own that has died is started
 * again. Two calls at once start one.
 * @param notice gets what the host says to people while it starts.
 * @throws TerminalError `host-failed`, and those of the servers.
 */
export async function ensureHost(stack: Stack, notice: (line: string) => void): Promise<HostRecord> {
  const running = stack.host();
  if (running && hasItsServers(stack, running)) return running;
  return withLock(stack.home.path('up.lock'), async () => {
    const host = stack.host();
    if (!host) {
      notice('Starting Postgres, Redis and the services …');
      return startHost(stack, notice);
    }
    if (!hasItsServers(stack, host)) {
      notice('Postgres or Redis has ended: starting it again …');
      await startServers(stack.home, host.portOffset, host.ownServers, notice);
    }
    return host;
  });
}

function hasItsServers(stack: Stack, { ownServers }: HostRecord): boolean {
  const { postgres, redis } = runningInfrastructure(stack.home);
  return (!ownServers.postgres || postgres !== null) && (!ownServers.redis || redis !== null);
}

async function startHost(stack: Stack, notice: (line: string) => void): Promise<HostRecord> {
  const logFile = stack.home.path('host.log');
  const log = openSync(logFile, 'w', 0o600);
  const child = spawn(process.execPath, [join(projectRoot(), 'dist/apps/cli/src/main.js'), 'host'], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: projectRoot(),
    env: { ...stack.env, BATON_HOME: stack.home.folder },
  });
  closeSync(log);
  child.unref();
  const starting = own(child.pid!);
  const deadline = Date.now() + START_MS;
  let told = 0;
  const tell = () => {
    const lines = linesForPeople(readFileSync(logFile, 'utf8'));
    lines.slice(told).forEach(notice);
    told = lines.length;
  };
  while (isRunning(starting)) {
    const host = stack.host();
    if (host?.pid === starting.pid) {
      tell();
      return host;
    }
    if (Date.now() > deadline) {
      await stopProcess(starting, 'SIGTERM', 10_000);
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
