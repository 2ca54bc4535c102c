import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { startDaemon } from './daemon.js';
import { BatonHome } from './home.js';
import { javaProgram } from './java.js';
import { kafkaBinaries } from './kafka-binaries.js';
import { withLock } from './lock.js';
import { requireFreePort } from './ports.js';
import type { RunningServer, ServerOptions, ServerRecord } from './postgres.js';
import { isRunning, stopProcess } from './processes.js';

export interface SchemaRegistryOptions extends ServerOptions {
  /** Folder that keeps the downloaded registry for the next start. */
  cache: string;
  /** Gets lines for people while it is downloaded. */
  notice: (line: string) => void;
}

export const SCHEMA_REGISTRY_RECORD = 'schema-registry';
const READY_MS = 90_000;
const STOP_MS = 10_000;
const PING_MS = 3000;
const JVM = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];

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
  return withLock(home.path('schema-registry.lock'), async () => {
    const url = `http://127.0.0.1:${port}/apis/ccompat/v7`;
    const running = (process: ServerRecord, startedHere: boolean): RunningServer => ({
      url,
      startedHere,
      process,
      stop: () => stopSchemaRegistry(folder),
    });
    const recorded = home.read<ServerRecord>(SCHEMA_REGISTRY_RECORD);
    if (recorded && isRunning(recorded)) {
      const answers =
        recorded.port === port &&
        (await pingSchemaRegistry(url).then(
          () => true,
          () => false,
        ));
      if (answers) return running(recorded, false);
      await stopProcess(recorded, 'SIGTERM', STOP_MS);
    }
    await requireFreePort(port, 'the schema registry');
    const data = home.path('schema-registry');
    mkdirSync(data, { recursive: true });
    const server = await startDaemon({
      name: 'schema-registry',
      command: javaProgram(binaries.java),
      args: [...JVM, ...settings(port, data), '-jar', join(binaries.schemaRegistry, 'quarkus-run.jar')],
      logFile: home.path('schema-registry.log'),
      probe: () => pingSchemaRegistry(url),
      timeoutMs: READY_MS,
      onLaunched: (launched) =>
        home.write(SCHEMA_REGISTRY_RECORD, { ...launched, port } satisfies ServerRecord),
    });
    return running({ ...server, port }, true);
  });
}

/** Ends the registry recorded in `folder`, if it is still that process. */
export async function stopSchemaRegistry(folder: string): Promise<void> {
  const home = new BatonHome(folder);
  const record = home.read<ServerRecord>(SCHEMA_REGISTRY_RECORD);
  if (record) await stopProcess(record, 'SIGTERM', STOP_MS);
  home.forget(SCHEMA_REGISTRY_RECORD);
}

/** Resolves when the registry at `url` answers within 3 s. @throws Error that names the cause. */
export async function pingSchemaRegistry(url: string): Promise<void> {
  const response = await fetch(`${url.replace(/\/$/, '')}/subjects`, {
    signal: AbortSignal.timeout(PING_MS),
  });
  await response.body?.cancel();
  // One that wants a password is up as well.
  if (!response.ok && response.status !== 401) throw new Error(`it answers ${response.status}`);
}

function settings(port: number, data: string): string[] {
  const properties = {
    'quarkus.http.host': '127.0.0.1',
    'quarkus.http.port': port,
    // Its second port, for health and metrics, would be 9000 on every address.
    'quarkus.management.host': '127.0.0.1',
    'quarkus.management.port': 0,
    'quarkus.log.level': 'WARN',
    'quarkus.http.access-log.enabled': false,
    // By default the database writes half a second after it has answered.
    'apicurio.datasource.url': `jdbc:h2:file:${join(data, 'registry')};WRITE_DELAY=0`,
  };
  return Object.entries(properties).map(([name, value]) => `-D${name}=${value}`);
}
