import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { TerminalError } from '#libs/contracts';
import { isRunning, own, type OwnedProcess } from './processes.js';

const POLL_MS = 100;

/**
 * Runs `work` while this process alone holds the lock `file`; a lock whose owner has ended is taken over.
 * @throws TerminalError `locked` when another process holds it for longer than `waitMs` (default 2 minutes).
 */
export async function withLock<T>(file: string, work: () => Promise<T>, waitMs = 120_000): Promise<T> {
  const deadline = Date.now() + waitMs;
  while (!acquire(file)) {
    const holder = readLock(file);
    if (Date.now() > deadline)
      throw new TerminalError(
        'locked',
        `${holder ? `Process ${holder.pid}` : 'Somebody'} has been starting or stopping Baton for ${waitMs / 1000} s: ${file}`,
      );
    if (holder && !isRunning(holder)) removeStale(file, holder);
    await sleep(POLL_MS);
  }
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}

/** A hard link appears together with its content, so nobody ever reads a half-written lock. */
function acquire(file: string): boolean {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(own(process.pid)));
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

function readLock(file: string): OwnedProcess | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as OwnedProcess;
  } catch {
    return null;
  }
}

/** Moves the lock away first: it may meanwhile be a new owner's, who gets it back. */
function removeStale(file: string, holder: OwnedProcess): void {
  const aside = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, aside);
  } catch {
    return;
  }
  const moved = readLock(aside);
  if (moved && (moved.pid !== holder.pid || moved.started !== holder.started)) renameSync(aside, file);
  else rmSync(aside, { force: true });
}
