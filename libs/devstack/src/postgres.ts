import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { canTraverse, postgresAccount, type Account } from './account.js';
import { startDaemon } from './daemon.js';
import { BatonHome } from './home.js';
import { withLock } from './lock.js';
import { requireFreePort } from './ports.js';
import { postgresBinaries } from './postgres-binaries.js';
import { commandLineOf, isRunning, own, stopProcess, type OwnedProcess } from './processes.js';
import type { RunningServer, ServerOptions, ServerRecord } from './server.js';

export const POSTGRES_RECORD = 'postgres';
const USER = 'baton';
const DATABASE = 'baton';
const READY_MS = 60_000;
const STOP_MS = 20_000;

/**
 * Postgres 18 with its default durability (fsync on) on 127.0.0.1, detached from this process. A server that already runs on
 * `folder` is used again, after a crash too; one on another port is moved.
 * @throws TerminalError `port-taken`, `postgres-failed`, `no-postgres`, `no-postgres-account`.
 */
export async function startPostgres({ folder, port }: ServerOptions): Promise<RunningServer> {
  const home = new BatonHome(folder);
  return withLock(home.path('postgres.lock'), async () => {
    const account = postgresAccount();
    const cluster = clusterFolder(home, account);
    const data = join(cluster, 'data');
    const url = (database: string) =>
      `postgres://${USER}:${home.secret('postgres-password')}@127.0.0.1:${port}/${database}`;
    let server = await survivor(data, port, url('postgres'));
    const startedHere = server === null;
    if (!server) {
      await requireFreePort(port, 'Postgres');
      const binaries = postgresBinaries(cluster, account);
      if (!existsSync(data))
        await initialise(binaries.initdb, data, home.secret('postgres-password'), account);
      server = await startDaemon({
        name: 'postgres',
        command: binaries.postgres,
        args: ['-D', data, '-p', String(port), ...SETTINGS.flatMap((setting) => ['-c', setting])],
        env: { ...process.env, LC_MESSAGES: 'C' },
        account,
        logFile: home.path('postgres.log'),
        probe: () => withClient(url('postgres'), (client) => client.query('select 1')),
        timeoutMs: READY_MS,
      });
    }
    await createDatabase(url('postgres'));
    home.write(POSTGRES_RECORD, { ...server, port } satisfies ServerRecord);
    return { url: url(DATABASE), startedHere, process: server, stop: () => stopPostgres(folder) };
  });
}

/** Ends the Postgres recorded in `folder`, if it is still that process: its sessions are cut, nothing committed is lost. */
export async function stopPostgres(folder: string): Promise<void> {
  const home = new BatonHome(folder);
  const record = home.read<ServerRecord>(POSTGRES_RECORD);
  if (record) await stopProcess(record, 'SIGINT', STOP_MS);
  home.forget(POSTGRES_RECORD);
}

const SETTINGS = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=300'];

/** Where the cluster lives: in the home, or where the account that runs Postgres can reach it; the home remembers the place. */
function clusterFolder(home: BatonHome, account: Account | null): string {
  const inHome = home.path('postgres');
  mkdirSync(inHome, { recursive: true, mode: 0o755 });
  if (canTraverse(account, inHome)) return inHome;
  const remembered = home.read<{ folder: string }>('postgres-location')?.folder;
  if (remembered && existsSync(remembered)) return remembered;
  const folder = mkdtempSync('/var/tmp/baton-');
  chmodSync(folder, 0o711);
  home.write('postgres-location', { folder });
  return folder;
}

async function initialise(
  initdb: string,
  data: string,
  password: string,
  account: Account | null,
): Promise<void> {
  const draft = `${data}.new`;
  const passwordFile = `${data}.${randomBytes(6).toString('hex')}`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  if (account) for (const path of [draft, passwordFile]) chownSync(path, account.uid, account.gid);
  try {
    await promisify(execFile)(
      initdb,
      [
        `--pgdata=${draft}`,
        `--username=${USER}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
        '--text-search-config=english',
      ],
      { ...account, cwd: '/', timeout: READY_MS, env: { ...process.env, LC_MESSAGES: 'C' } },
    );
  } finally {
    rmSync(passwordFile, { force: true });
  }
  // The name `data` appears only when the cluster is whole.
  renameSync(draft, data);
}

/** The Postgres that already runs on `data` and answers at `url`; any other remains of a former run are cleared away. */
async function survivor(data: string, port: number, url: string): Promise<OwnedProcess | null> {
  const postmaster = readPostmaster(data);
  if (!postmaster) return null;
  if (postmaster.process && postmaster.port === port) {
    const answers = await withClient(url, (client) => client.query('select 1')).then(
      () => true,
      () => false,
    );
    if (answers && isRunning(postmaster.process)) return postmaster.process;
  }
  if (postmaster.process) await stopProcess(postmaster.process, 'SIGINT', STOP_MS);
  rmSync(join(data, 'postmaster.pid'), { force: true });
  return null;
}

/** `postmaster.pid` names pid and port; after a crash the pid may be nobody's, or a stranger's. */
function readPostmaster(data: string): { process: OwnedProcess | null; port: number } | null {
  let lines: string[];
  try {
    lines = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
  } catch {
    return null;
  }
  const pid = Number(lines[0]);
  const isOurs = pid > 1 && (commandLineOf(pid) ?? '').includes(data);
  return { process: isOurs ? own(pid) : null, port: Number(lines[3]) };
}

async function createDatabase(url: string): Promise<void> {
  await withClient(url, async (client) => {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`create database ${DATABASE}`);
  });
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 2000,
    query_timeout: 20_000,
  });
  // Without a listener, a connection that breaks later would end this process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}
