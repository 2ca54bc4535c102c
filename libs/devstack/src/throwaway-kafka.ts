import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatonHome } from './home.js';
import { awaitCoordinators } from './kafka-cluster.js';
import { KAFKA_RECORD, startKafka } from './kafka.js';
import { freePort } from './ports.js';
import type { RunningServer } from './server.js';
import { signalProcess, waitForEnd } from './processes.js';
import { release, startReaper } from './reaper.js';
import { SCHEMA_REGISTRY_RECORD, startSchemaRegistry } from './schema-registry.js';
import { onFreePort } from './throwaway.js';

export interface ThrowawayKafkaOptions {
  /** Default 1. With 3, topics have three replicas, and two of them must have written what counts as written. */
  nodes?: 1 | 3;
  /** Folder that keeps the downloaded Kafka; default `BATON_HOME`. */
  cache?: string;
  /** Gets lines for people while Kafka is downloaded. */
  notice?: (line: string) => void;
}

export interface ThrowawayKafka {
  /** The value of KAFKA_BROKERS: `host:port`, separated by commas. */
  brokers: string;
  /** By ascending id, from 1: the `leader` of kafkajs' metadata is such an id. */
  nodes: ThrowawayKafkaNode[];
  folder: string;
  /** Ends all nodes, paused ones too, and deletes the folder; safe to call twice. */
  stop(): Promise<void>;
}

export interface ThrowawayKafkaNode {
  id: number;
  port: number;
  /** Sends the signal; of one that ends a process, resolves when it has ended (at most 20 s). */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts a node that has ended on the same data and port; resolves when it is in service again, 6 to 15 s after a SIGKILL. */
  start(): Promise<void>;
}

const START_ATTEMPTS = 3;
const END_MS = 20_000;
const quiet = () => undefined;

/**
 * A Kafka for a test or a benchmark, on free ports, its data in a temporary folder. It ends, and the folder goes, with `stop()` or
 * with this process, however it ends.
 * @throws TerminalError `kafka-unavailable`, `kafka-failed`.
 */
export async function startThrowawayKafka({
  nodes = 1,
  cache = BatonHome.fromEnv(process.env).folder,
  notice = quiet,
}: ThrowawayKafkaOptions = {}): Promise<ThrowawayKafka> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startCluster(nodes, cache, notice);
    } catch (error) {
      // Between the look for a free port and its use, another process may take it.
      if (attempt === START_ATTEMPTS || (error as { code?: string }).code !== 'port-taken') throw error;
    }
  }
}

async function startCluster(
  size: number,
  cache: string,
  notice: (line: string) => void,
): Promise<ThrowawayKafka> {
  const folder = mkdtempSync(join(tmpdir(), 'baton-kafka-'));
  const ids = Array.from({ length: size }, (_, index) => index + 1);
  const reaper = startReaper(
    folder,
    ids.map((id) => ({ record: `node-${id}/${KAFKA_RECORD}`, signal: 'KILL', command: 'kafka.Kafka' })),
  );
  try {
    const places = await Promise.all(
      ids.map(async (id) => ({ id, port: await freePort(), controllerPort: await freePort() })),
    );
    const clusterId = randomBytes(16).toString('base64url');
    const controllerPorts = Object.fromEntries(places.map(({ id, controllerPort }) => [id, controllerPort]));
    const start = ({ id, port, controllerPort }: (typeof places)[number]) =>
      startKafka({
        folder: join(folder, `node-${id}`),
        port,
        controllerPort,
        cache,
        notice,
        member: { nodeId: id, clusterId, controllerPorts },
      });
    // No node is in service before most of them run.
    const started = await allOrFirstError(places.map(start));
    const brokers = started.map(({ url }) => url).join(',');
    await awaitCoordinators(brokers);
    const nodes = places.map((place, index) => throwawayNode(place, started[index]!, () => start(place)));
    return { brokers, nodes, folder, stop: () => release(reaper) };
  } catch (error) {
    await release(reaper);
    throw error;
  }
}

/** Waits for all, so that no start goes on behind the back of who clears up. */
async function allOrFirstError<T>(promises: Array<Promise<T>>): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

function throwawayNode(
  { id, port }: { id: number; port: number },
  started: RunningServer,
  start: () => Promise<RunningServer>,
): ThrowawayKafkaNode {
  let current = started.process;
  return {
    id,
    port,
    async kill(signal) {
      if (!signalProcess(current, signal) || ['SIGSTOP', 'SIGCONT'].includes(signal)) return;
      await waitForEnd(current, END_MS);
    },
    async start() {
      current = (await start()).process;
    },
  };
}

export interface ThrowawaySchemaRegistry {
  /** The value of SCHEMA_REGISTRY_URL. */
  url: string;
  /** Ends it and deletes its data; safe to call twice. */
  stop(): Promise<void>;
}

/**
 * A schema registry for a test; it ends as a throwaway Kafka does.
 * @throws TerminalError `kafka-unavailable`, `schema-registry-failed`.
 */
export async function startThrowawaySchemaRegistry({
  cache = BatonHome.fromEnv(process.env).folder,
  notice = quiet,
}: Omit<ThrowawayKafkaOptions, 'nodes'> = {}): Promise<ThrowawaySchemaRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'baton-schemas-'));
  const reaper = startReaper(folder, [
    { record: SCHEMA_REGISTRY_RECORD, signal: 'KILL', command: 'quarkus-run' },
  ]);
  try {
    const { url } = await onFreePort((port) => startSchemaRegistry({ folder, port, cache, notice }));
    return { url, stop: () => release(reaper) };
  } catch (error) {
    await release(reaper);
    throw error;
  }
}
