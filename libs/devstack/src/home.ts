import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { randomBytes } from 'node:crypto';
import { projectRoot, type Env } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';

/**
 * The data folder of one stack on this machine: `BATON_HOME`, else `.baton` beside Baton's package.json.
 * Holds the databases, the logs, the secret, and one JSON record for each process that Baton started.
 */
export class BatonHome {
  constructor(readonly folder: string) {
    mkdirSync(folder, { recursive: true });
  }

  static fromEnv(env: Env): BatonHome {
    return new BatonHome(resolve(env['BATON_HOME'] || join(projectRoot(), '.baton')));
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** The record `name`; null when there is none or it cannot be read. */
  read<T>(name: string): T | null {
    try {
      return JSON.parse(readFileSync(this.path(`${name}.json`), 'utf8')) as T;
    } catch {
      return null;
    }
  }

  write(name: string, record: unknown): void {
    const file = this.path(`${name}.json`);
    writeFileSync(`${file}.${process.pid}`, `${JSON.stringify(record)}\n`, { mode: 0o600 });
    renameSync(`${file}.${process.pid}`, file);
  }

  forget(name: string): void {
    rmSync(this.path(`${name}.json`), { force: true });
  }

  /** A random secret of 64 hexadecimal characters, made on first use, readable by its owner alone. */
  secret(name: string): string {
    const file = this.path(name);
    if (!existsSync(file)) {
      try {
        writeFileSync(file, randomBytes(32).toString('hex'), { mode: 0o600, flag: 'wx' });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
    }
    if ((statSync(file).mode & 0o077) !== 0) chmodSync(file, 0o600);
    const secret = readFileSync(file, 'utf8').trim();
    if (secret.length < 32)
      throw new TerminalError('secret-damaged', `${file} is damaged: delete it, a new one is made`);
    return secret;
  }
}
