import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '#libs/contracts';

const TIMEOUT_MS = 3000;
const COORDINATORS_MS = 30_000;

/**
 * Resolves when a broker of `brokers` (`host:port`, separated by commas) answers.
 * @param nodeId the broker that must be among those in service; a broker that starts or has lost its controllers is not.
 * @throws Error that names the cause.
 */
export async function pingKafka(brokers: string, nodeId?: number): Promise<void> {
  const admin = await quietAdmin(brokers, 0);
  try {
    await admin.connect();
    const cluster = await admin.describeCluster();
    if (nodeId !== undefined && !cluster.brokers.some((broker) => broker.nodeId === nodeId))
      throw new Error(`Broker ${nodeId} is not in service yet`);
  } finally {
    await admin.disconnect().catch(() => undefined);
  }
}

/**
 * A broker makes its topic of offsets when the first consumer group asks for it, and answers "coordinator not available" until all
 * of its partitions are there: this asks for each, so that no consumer has to wait.
 * @throws Error when they are not there within 30 s.
 */
export async function awaitCoordinators(brokers: string): Promise<void> {
  const admin = await quietAdmin(brokers, 0);
  const deadline = Date.now() + COORDINATORS_MS;
  try {
    await admin.connect();
    for (const groupId of GROUP_PER_PARTITION)
      for (;;) {
        try {
          await admin.fetchOffsets({ groupId });
          break;
        } catch (error) {
          if (Date.now() > deadline)
            throw new Error(`Kafka's coordinators are not available: ${messageOf(error)}`, { cause: error });
          await sleep(50);
        }
      }
  } finally {
    await admin.disconnect().catch(() => undefined);
  }
}

/** A group's partition is its name's hash modulo the 3 of `kafkaProperties`; names that end in successive digits differ by one. */
const GROUP_PER_PARTITION = [1, 2, 3].map((n) => `baton-warm-up-${n}`);

/** kafkajs is loaded when it is needed: most commands have nothing to do with Kafka. */
async function quietAdmin(brokers: string, retries: number) {
  const { Kafka, logLevel } = await import('kafkajs');
  return new Kafka({
    clientId: 'baton-devstack',
    brokers: brokers.split(',').map((broker) => broker.trim()),
    logLevel: logLevel.NOTHING,
    connectionTimeout: TIMEOUT_MS,
    requestTimeout: TIMEOUT_MS,
    retry: { retries, initialRetryTime: 100, maxRetryTime: 500 },
  }).admin();
}
