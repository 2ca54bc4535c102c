import { mkdirSync } from 'node:fs';
import { startDaemon } from './daemon.js';
import { BatonHome } from './home.js';
import { kafkaBinaries } from './kafka-binaries.js';
import { registryCommand } from './kafka-commands.js';
import { requireFreePort } from './ports.js';
import {
  findOrLaunch,
  stopRecorded,
  type RunningServer,
  type ServerOptions,
  type ServerRecord,
} from './server.js';

export interface SchemaRegistryOptions extends ServerOptions {
  /** Folder that keeps the downloaded registry for the next start. */
  cache: string;
  /** Gets lines for people while it is downloaded. */
  notice: (line: string) => void;
}

export const SCHEMA_REGISTRY_RECORD = 'schema-registry';
const READY_MS = 90_000;
const PING_MS = 3000;

/**
 * An Apicurio registry on 127.0.0.1, detached from this process; `url` is its Confluent API, the value of SCHEMA_REGISTRY_URL.
 * One that already runs on `folder` is used again; one on another port is moved. What it has answered is on disk: messages that
 * wait in Kafka name schemas by the registry's numbers.
 * @throws TerminalError `kafka-unavailable`, `port-taken`, `schema-registry-failed`.
 */
export async function startSchemaRegistry(options: SchemaRegistryOptions): Promise<RunningServer> {
  const { folder, port, cache, notice } = options;
  const home = new BatonHome(folder);
  const binaries = await kafkaBinaries(cache, notice);
  const url = schemaRegistryUrlAt(port);
  const ping = () => pingSchemaRegistry(url);
  const { record, startedHere } = await findOrLaunch<ServerRecord>({
    home,
    name: SCHEMA_REGISTRY_RECORD,
    port,
    ping,
    launch: async () => {
      await requireFreePort(port, 'the schema registry');
      const data = home.path('schema-registry');
      mkdirSync(data, { recursive: true });
      const server = await startDaemon({
        name: 'schema-registry',
        ...registryCommand(binaries, port, data),
        logFile: home.path('schema-registry.log'),
        probe: ping,
        timeoutMs: READY_MS,
        onLaunched: (launched) => home.write(SCHEMA_REGISTRY_RECORD, { ...launched, port }),
      });
      return { ...server, port };
    },
  });
  return { url, startedHere, process: record, stop: () => stopSchemaRegistry(folder) };
}

/** The Confluent API of the registry on a port of this machine. */
export function schemaRegistryUrlAt(port: number): string {
  return `http://127.0.0.1:${port}/apis/ccompat/v7`;
}

/** Ends the registry recorded in `folder`, if it is still that process. */
export function stopSchemaRegistry(folder: string): Promise<void> {
  return stopRecorded(new BatonHome(folder), SCHEMA_REGISTRY_RECORD);
}

/** Resolves when the registry at `url` answers within 3 s. @throws Error that names the cause. */
export async function pingSchemaRegistry(url: string): Promise<void> {
  const address = new URL(`${url.replace(/\/$/, '')}/subjects`);
  // fetch refuses them.
  address.username = address.password = '';
  const response = await fetch(address, { signal: AbortSignal.timeout(PING_MS) }).catch((error: Error) => {
    throw error.cause ?? error;
  });
  await response.body?.cancel();
  // One that wants a password is up as well.
  if (!response.ok && response.status !== 401) throw new Error(`it answers ${response.status}`);
}
