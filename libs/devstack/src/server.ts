import type { BatonHome } from './home.js';
import { withLock } from './lock.js';
import { isRunning, stopProcess, type OwnedProcess } from './processes.js';

export interface ServerOptions {
  /** Folder of the data, the log and the record of the process; made when it is missing. */
  folder: string;
  /** Port on 127.0.0.1. */
  port: number;
}

/** A server that outlives its launcher. */
export interface RunningServer {
  url: string;
  /** False when it was found running. */
  startedHere: boolean;
  process: OwnedProcess;
  /** Ends it in order; safe to call twice. */
  stop(): Promise<void>;
}

export interface ServerRecord extends OwnedProcess {
  port: number;
}

interface Recorded<R extends ServerRecord> {
  home: BatonHome;
  /** Name of the record, and of the lock. */
  name: string;
  port: number;
  /** Rejects while the server does not answer on its port. */
  ping: () => Promise<unknown>;
  launch: () => Promise<R>;
}

/** Servers that are told to end by SIGTERM do so well within this time. */
const STOP_MS = 20_000;

/**
 * The server that `home` records, when it still runs on `port` and answers; else what is left of it is ended, and one is launched
 * and recorded. Two calls at once launch one.
 */
export function findOrLaunch<R extends ServerRecord>(
  server: Recorded<R>,
): Promise<{ record: R; startedHere: boolean }> {
  const { home, name, port, ping, launch } = server;
  return withLock(home.path(`${name}.lock`), async () => {
    const recorded = home.read<R>(name);
    if (recorded && isRunning(recorded)) {
      const answers =
        recorded.port === port &&
        (await ping().then(
          () => true,
          () => false,
        ));
      if (answers) return { record: recorded, startedHere: false };
      await stopProcess(recorded, 'SIGTERM', STOP_MS);
    }
    const record = await launch();
    home.write(name, record);
    return { record, startedHere: true };
  });
}

/** Ends the server that `home` records, if it is still that process. */
export async function stopRecorded(home: BatonHome, name: string): Promise<void> {
  const record = home.read<ServerRecord>(name);
  if (record) await stopProcess(record, 'SIGTERM', STOP_MS);
  home.forget(name);
}
