import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { TerminalError } from '#libs/contracts';

/** A user of the operating system. */
export interface Account {
  uid: number;
  gid: number;
}

/**
 * Postgres refuses to run as root. Root therefore runs it as `postgres` where that user exists, else as `nobody`: no user is
 * created on the machine. Null for everybody else: they run it as themselves.
 * @throws TerminalError `no-postgres-account` when root has neither user.
 */
export function postgresAccount(): Account | null {
  if (process.getuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    const uid = idOf('-u', name);
    const gid = idOf('-g', name);
    if (uid && gid) return { uid, gid };
  }
  throw new TerminalError(
    'no-postgres-account',
    'Postgres refuses to run as root, and this machine has neither a user "postgres" nor "nobody". Run ./baton as another user, or set DATABASE_URL',
  );
}

function idOf(option: '-u' | '-g', user: string): number | null {
  try {
    const id = Number(
      execFileSync('id', [option, user], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
        timeout: 5000,
      }),
    );
    // macOS has nobody as -2; setuid takes its unsigned form.
    return Number.isInteger(id) ? id >>> 0 : null;
  } catch {
    return null;
  }
}

interface Permissions {
  uid: number;
  gid: number;
  mode: number;
}

/** Whether `account` may pass through every folder above `path` and through `path` itself. Null (the own user) always may. */
export function canTraverse(
  account: Account | null,
  path: string,
  stat: (path: string) => Permissions = statSync,
): boolean {
  if (!account) return true;
  for (let folder = path; ; folder = dirname(folder)) {
    const { uid, gid, mode } = stat(folder);
    const bit = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (dirname(folder) === folder) return true;
  }
}
