import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startDaemon } from './daemon.js';
import { BatonHome } from './home.js';
import { kafkaBinaries } from './kafka-binaries.js';
import { awaitCoordinators, pingKafka } from './kafka-cluster.js';
import { brokerCommand, formatCommand, type KafkaBinaries } from './kafka-commands.js';
import { kafkaProperties, loneMember, type ClusterMember } from './kafka-properties.js';
import { requireFreePort } from './ports.js';
import {
  findOrLaunch,
  stopRecorded,
  type RunningServer,
  type ServerOptions,
  type ServerRecord,
} from './server.js';

export interface KafkaOptions extends ServerOptions {
  /** Second port on 127.0.0.1, over which the nodes agree among themselves. */
  controllerPort: number;
  /** Folder that keeps the downloaded Kafka for the next start. */
  cache: string;
  /** Gets lines for people while Kafka is downloaded. */
  notice: (line: string) => void;
  /** Its place in a cluster; default: alone. */
  member?: ClusterMember;
}

export const KAFKA_RECORD = 'kafka';
/** After a kill the broker waits until its former session has run out. */
const READY_MS = 60_000;

/**
 * One Kafka 4 node, broker and controller at once, on 127.0.0.1, detached from this process; `url` is the value of KAFKA_BROKERS.
 * A node that already runs on `folder` is used again; one on another port is moved. After a kill it goes on with its data.
 * @throws TerminalError `kafka-unavailable`, `port-taken`, `kafka-failed`.
 */
export async function startKafka(options: KafkaOptions): Promise<RunningServer> {
  const { folder, port, controllerPort, cache, notice, member = loneMember(controllerPort) } = options;
  const home = new BatonHome(folder);
  const binaries = await kafkaBinaries(cache, notice);
  const url = `127.0.0.1:${port}`;
  const ping = () => pingKafka(url, member.nodeId);
  const { record, startedHere } = await findOrLaunch<ServerRecord>({
    home,
    name: KAFKA_RECORD,
    port,
    ping,
    launch: async () => {
      await requireFreePort(port, 'Kafka');
      await requireFreePort(controllerPort, "Kafka's controller");
      const config = await prepare(home, binaries, options, member);
      const server = await startDaemon({
        name: 'kafka',
        ...brokerCommand(binaries, config),
        logFile: home.path('kafka.log'),
        probe: ping,
        timeoutMs: READY_MS,
        onLaunched: (launched) => home.write(KAFKA_RECORD, { ...launched, port }),
      });
      if (!options.member) await awaitCoordinators(url);
      return { ...server, port };
    },
  });
  return { url, startedHere, process: record, stop: () => stopKafka(folder) };
}

/** Ends the Kafka recorded in `folder` in order, if it is still that process. */
export function stopKafka(folder: string): Promise<void> {
  return stopRecorded(new BatonHome(folder), KAFKA_RECORD);
}

/** Writes the configuration and formats the folder of the data, once. @returns the configuration file. */
async function prepare(
  home: BatonHome,
  binaries: KafkaBinaries,
  { port, controllerPort }: KafkaOptions,
  member: ClusterMember,
): Promise<string> {
  const folder = home.path('kafka');
  mkdirSync(folder, { recursive: true });
  const configure = (name: string, data: string): string => {
    const file = join(folder, name);
    writeFileSync(file, kafkaProperties({ port, controllerPort, data, member }));
    return file;
  };
  const data = join(folder, 'data');
  if (!existsSync(data)) {
    const draft = `${data}.new`;
    rmSync(draft, { recursive: true, force: true });
    const format = formatCommand(
      binaries,
      configure('format.properties', draft),
      member.clusterId ?? randomBytes(16).toString('base64url'),
    );
    await promisify(execFile)(format.command, format.args, { timeout: READY_MS });
    // The name `data` appears only when it is whole.
    renameSync(draft, data);
  }
  return configure('server.properties', data);
}
