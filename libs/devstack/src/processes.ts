import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that Baton started: a pid alone may by now belong to somebody else's process. */
export interface OwnedProcess {
  pid: number;
  /** When the process started, in the operating system's own words; compared, never read. */
  started: string;
}

/** The start time that tells this process from a later one with the same pid; null when it does not run. */
export function startTimeOf(pid: number): string | null {
  if (process.platform === 'linux') {
    const stat = readProc(`/proc/${pid}/stat`);
    if (!stat) return null;
    // The command in parentheses may itself hold blanks and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A killed process whose first thread is gone holds its ports until the last of its threads is.
    const hasEnded = fields[0] === 'X' || (fields[0] === 'Z' && Number(fields[17]) <= 1);
    return hasEnded ? null : `${readProc('/proc/sys/kernel/random/boot_id')?.trim() ?? ''}:${fields[19]}`;
  }
  return ps(pid, 'lstart=');
}

/** The command line of a process; null when it does not run or cannot be read. */
export function commandLineOf(pid: number): string | null {
  if (process.platform === 'linux')
    return readProc(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ').trim() || null;
  return ps(pid, 'command=');
}

function readProc(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

function ps(pid: number, column: string): string | null {
  try {
    return (
      execFileSync('ps', ['-o', column, '-p', String(pid)], { encoding: 'utf8', timeout: 5000 }).trim() ||
      null
    );
  } catch {
    return null;
  }
}

/** @throws Error when the process has already ended. */
export function own(pid: number): OwnedProcess {
  const started = startTimeOf(pid);
  if (!started) throw new Error(`Process ${pid} has ended`);
  return { pid, started };
}

export function isRunning(process: OwnedProcess | null): process is OwnedProcess {
  return process !== null && startTimeOf(process.pid) === process.started;
}

/** Sends `signal` only while the pid is still that process. Tells whether it was sent. */
export function signalProcess(target: OwnedProcess, signal: NodeJS.Signals): boolean {
  if (!isRunning(target)) return false;
  try {
    return process.kill(target.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** Waits until the process has ended; false when it still runs after `timeoutMs`. */
export async function waitForEnd(target: OwnedProcess, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (isRunning(target)) {
    if (Date.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

/** Asks with `signal`, waits `graceMs`, then kills. Does nothing when the process has ended already. */
export async function stopProcess(
  target: OwnedProcess,
  signal: NodeJS.Signals,
  graceMs: number,
): Promise<void> {
  if (!signalProcess(target, signal)) return;
  if (await waitForEnd(target, graceMs)) return;
  signalProcess(target, 'SIGKILL');
  await waitForEnd(target, 5000);
}
