import { randomBytes } from 'node:crypto';
import type { Env } from '#libs/chassis';
import {
  startThrowawayKafka,
  startThrowawaySchemaRegistry,
  type ThrowawayKafka,
  type ThrowawaySchemaRegistry,
} from '#libs/devstack';

export interface Transport {
  env: Env;
  kafka?: ThrowawayKafka;
  registry?: ThrowawaySchemaRegistry;
  stop(): Promise<void>;
}

export const bullmq = async (): Promise<Transport> => ({ env: {}, stop: async () => undefined });

export async function kafka(): Promise<Transport> {
  const cluster = await startThrowawayKafka();
  return { env: { KAFKA_BROKERS: cluster.brokers }, kafka: cluster, stop: () => cluster.stop() };
}

export async function kafkaWithRegistry(): Promise<Transport> {
  const [cluster, registry] = await Promise.all([startThrowawayKafka(), startThrowawaySchemaRegistry()]);
  return {
    env: { KAFKA_BROKERS: cluster.brokers, SCHEMA_REGISTRY_URL: registry.url },
    kafka: cluster,
    registry,
    stop: async () => void (await Promise.all([cluster.stop(), registry.stop()])),
  };
}

/** A topic of its own for a test. */
export const newTopic = (): string => `agent.tasks.t${randomBytes(5).toString('hex')}`;
/** A service of its own for a test: another consumer group and another part of the outbox. */
export const newService = (name: string): string => `${name}-${randomBytes(4).toString('hex')}`;
