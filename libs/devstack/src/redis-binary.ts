import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '#libs/chassis';

const run = promisify(execFile);

/** How a Redis is started. `args` come before Redis' own options. */
export interface RedisProgram {
  kind: 'redis' | 'js-redis-server';
  command: string;
  args: string[];
  env: NodeJS.ProcessEnv;
}

/** BullMQ's own minimum. */
const OLDEST = [6, 2] as const;
const DEBIAN_PACKAGES = ['redis-tools', 'libjemalloc2', 'liblzf1'];
const DOWNLOAD_MS = 60_000;

/**
 * A Redis for this machine: `redis-server` or `valkey-server` on the PATH; else Debian's build, unpacked into `cache` without
 * being installed; else a server in JavaScript, slow and in memory only, with a word to `notice`.
 */
export async function findRedis(cache: string, notice: (line: string) => void): Promise<RedisProgram> {
  const installed = onPath('redis-server') ?? onPath('valkey-server');
  if (installed) {
    const version = versionOf(installed);
    if (version && isRecent(version))
      return { kind: 'redis', command: installed, args: [], env: process.env };
    notice(
      `${installed} is not used: Redis ${OLDEST.join('.')} or newer is needed${version ? `, it is ${version}` : ''}`,
    );
  }
  const unpacked = await debianRedis(cache).catch(() => null);
  if (unpacked) return unpacked;
  notice(
    'No Redis found: using a Redis written in JavaScript (about 100 tasks/s, in memory only). For the real one install redis-server or valkey, or set REDIS_URL',
  );
  return javascriptRedis();
}

function onPath(program: string): string | null {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, program)).find((file) => existsSync(file)) ?? null;
}

function versionOf(program: string, env: NodeJS.ProcessEnv = process.env): string | null {
  try {
    const text = execFileSync(program, ['--version'], {
      encoding: 'utf8',
      timeout: 5000,
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return /v=(\d+\.\d+[.\d]*)/.exec(text)?.[1] ?? null;
  } catch {
    return null;
  }
}

function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

/**
 * Debian's package redis-server links its program to redis-check-rdb of redis-tools: the same file is both, by its name.
 * Needs apt's lists, but neither root nor an installation.
 */
async function debianRedis(cache: string): Promise<RedisProgram | null> {
  const folder = join(cache, 'redis-debian');
  if (!existsSync(folder)) {
    if (!onPath('apt-get') || !onPath('dpkg')) return null;
    const draft = `${folder}.${process.pid}`;
    rmSync(draft, { recursive: true, force: true });
    mkdirSync(draft, { recursive: true });
    try {
      await run('apt-get', ['download', ...DEBIAN_PACKAGES], { cwd: draft, timeout: DOWNLOAD_MS });
      for (const file of readdirSync(draft).filter((name) => name.endsWith('.deb'))) {
        await run('dpkg', ['-x', file, '.'], { cwd: draft, timeout: DOWNLOAD_MS });
        rmSync(join(draft, file));
      }
      symlinkSync('redis-check-rdb', join(draft, 'usr/bin/redis-server'));
      if (!versionOf(programOf(draft).command, programOf(draft).env)) return null;
      if (!existsSync(folder)) renameSync(draft, folder);
    } finally {
      rmSync(draft, { recursive: true, force: true });
    }
  }
  return programOf(folder);
}

function programOf(folder: string): RedisProgram {
  const lib = join(folder, 'usr/lib');
  const libraries = readdirSync(lib, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(lib, entry.name));
  const env = {
    ...process.env,
    LD_LIBRARY_PATH: [...libraries, process.env['LD_LIBRARY_PATH']].filter(Boolean).join(':'),
  };
  return { kind: 'redis', command: join(folder, 'usr/bin/redis-server'), args: [], env };
}

/** js-redis-server listens on every address; this start keeps it on 127.0.0.1. */
const LOOPBACK_ONLY = `
const { Server } = require('node:net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) { return listen.call(this, port, '127.0.0.1', ...rest); };
require(process.argv[1]).main(['--port', process.argv[2]]);
`;

function javascriptRedis(): RedisProgram {
  const cli = createRequire(join(projectRoot(), 'package.json'))
    .resolve('js-redis-server')
    .replace(/index\.m?js$/, 'cli.js');
  return {
    kind: 'js-redis-server',
    command: process.execPath,
    args: ['-e', LOOPBACK_ONLY, cli],
    env: process.env,
  };
}
