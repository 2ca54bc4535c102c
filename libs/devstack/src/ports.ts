import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { TerminalError } from '#libs/contracts';
import { commandLineOf } from './processes.js';

const LOOPBACK = '127.0.0.1';

/** Below what Linux and macOS give to outgoing connections: of those, one may take a free port before it is used. */
const FREE_PORTS = { from: 20_000, to: 32_000 };
const LOOKS = 100;

/** A port of 127.0.0.1 that is free now. Another process that looks for one may take it before it is used. */
export async function freePort(): Promise<number> {
  for (let look = 1; look < LOOKS; look += 1)
    try {
      return await listenOn(randomInt(FREE_PORTS.from, FREE_PORTS.to));
    } catch {
      // Taken: the next one may be free.
    }
  return listenOn(0);
}

function listenOn(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, LOOPBACK, () => {
      const taken = (server.address() as AddressInfo).port;
      server.close(() => resolve(taken));
    });
  });
}

/** @throws TerminalError `port-taken` that names the port, who holds it when that can be seen, and the fix. */
export async function requireFreePort(port: number, wantedBy: string): Promise<void> {
  try {
    await listenOn(port);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EADDRINUSE' && code !== 'EACCES') throw error;
    const holder = code === 'EADDRINUSE' ? holderOf(port) : null;
    const why =
      code === 'EACCES' ? 'may not be used by this user' : `is taken${holder ? ` by ${holder}` : ''}`;
    throw new TerminalError(
      'port-taken',
      `Port ${port}, wanted by ${wantedBy}, ${why}. Stop that program, or move all of Baton's ports with another BATON_PORT_OFFSET, e.g. 20000`,
    );
  }
}

/** The process that listens on a TCP port, e.g. `pid 812 (node server.js)`; null when it cannot be seen. */
export function holderOf(port: number): string | null {
  const pid = process.platform === 'linux' ? linuxListener(port) : lsofListener(port);
  if (!pid) return null;
  const command = commandLineOf(pid);
  return `pid ${pid}${command ? ` (${command.slice(0, 60)})` : ''}`;
}

/** Whether anybody listens on a TCP port of this machine. */
export function isListenedOn(port: number): boolean {
  return process.platform === 'linux' ? tcpListeners(port).length > 0 : lsofListener(port) !== null;
}

/** Socket inodes of listeners on `port` in the format of /proc/net/tcp. */
export function listeningInodes(table: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(suffix) && fields[3] === '0A')
    .map((fields) => fields[9] ?? '');
}

function tcpListeners(port: number): string[] {
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap(
    (file) => attempt(() => listeningInodes(readFileSync(file, 'utf8'), port)) ?? [],
  );
}

function linuxListener(port: number): number | null {
  const inodes = new Set(tcpListeners(port));
  if (inodes.size === 0) return null;
  for (const pid of attempt(() => readdirSync('/proc').filter((name) => /^\d+$/.test(name))) ?? [])
    for (const fd of attempt(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      const inode = /^socket:\[(\d+)\]$/.exec(
        attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? '',
      )?.[1];
      if (inode && inodes.has(inode)) return Number(pid);
    }
  return null;
}

function lsofListener(port: number): number | null {
  const out = attempt(() =>
    execFileSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fp'], {
      encoding: 'utf8',
      timeout: 5000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  );
  return Number(/^p(\d+)$/m.exec(out ?? '')?.[1]) || null;
}

/** Processes and their files come and go while they are listed. */
function attempt<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}
