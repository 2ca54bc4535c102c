import { setTimeout as sleep } from 'node:timers/promises';
import {
  Partitioners,
  type Admin,
  type ITopicConfig,
  type Kafka,
  type Message,
  type Producer,
  type RecordMetadata,
} from 'kafkajs';
import { messageOf, RetryableError } from '#libs/contracts';
import { HEADROOM_BYTES, MAX_MESSAGE_BYTES } from '../avro/codec.js';
import type { HandoffConfig } from '../handoff/config.js';
import type { Delivery, Handoff, OutgoingMessage } from '../handoff/handoff.js';

/** How long a topic keeps its messages; inboxes remember longer. */
export const TOPIC_RETENTION_MS = 7 * 86_400_000;
/** After it, the messages count as not delivered and are offered again; less than a relay's hold. */
const PUBLISH_DEADLINE_MS = 8000;
const HOLD_MS = 12_000;
const ACKS_ALL = -1;

/**
 * Kafka as the hand-off: one idempotent producer with acks=all per process.
 *
 * A producer is thrown away after every failure. kafkajs gives the numbers of a batch that failed to the next one: had the broker stored
 * the first and lost only the answer, it would take the next for a repetition and drop it, with success. A new producer has a new
 * identity, and what then comes twice is known by its id.
 */
export class KafkaHandoff implements Handoff {
  readonly holdMs = HOLD_MS;
  readonly oneAtATime = false;
  private readonly topics = new Set<string>();
  private admin?: Promise<Admin>;
  private producer?: Promise<Producer>;
  private readonly partitions = new WeakMap<Message, number>();

  constructor(
    private readonly kafka: Kafka,
    private readonly config: Pick<HandoffConfig, 'KAFKA_PARTITIONS' | 'KAFKA_REPLICATION'>,
    private readonly deadlineMs = PUBLISH_DEADLINE_MS,
  ) {}

  async prepare(topics: readonly string[]): Promise<void> {
    const missing = topics.filter((topic) => !this.topics.has(topic));
    if (missing.length === 0) return;
    try {
      const admin = await this.openAdmin();
      const existing = new Set(await admin.listTopics());
      const wanted = missing.filter((topic) => !existing.has(topic)).map((topic) => this.topicConfig(topic));
      // Made by somebody else meanwhile, a topic is as good.
      if (wanted.length > 0) await admin.createTopics({ topics: wanted });
      for (const topic of missing) this.topics.add(topic);
    } catch (error) {
      this.discard('admin');
      throw new RetryableError('handoff-unavailable', `Kafka: ${messageOf(error)}`, { cause: error });
    }
  }

  async check(): Promise<void> {
    try {
      await (await this.openAdmin()).describeCluster();
    } catch (error) {
      this.discard('admin');
      throw error;
    }
  }

  async publish(messages: readonly OutgoingMessage[]): Promise<Delivery[]> {
    const late = new AbortController();
    try {
      const sent = this.send(messages);
      const tooLate = sleep(this.deadlineMs, undefined, { signal: late.signal }).then(() => {
        throw new Error(`no answer within ${this.deadlineMs} ms`);
      });
      // What the abandoned send becomes of, and the timer that was stopped, is nobody's business.
      sent.catch(() => undefined);
      tooLate.catch(() => undefined);
      return await Promise.race([sent, tooLate]);
    } catch (error) {
      this.discard('producer');
      const reason = new RetryableError('handoff-unavailable', `Kafka: ${messageOf(error)}`, {
        cause: error,
      });
      return messages.map(() => reason);
    } finally {
      late.abort();
    }
  }

  async close(): Promise<void> {
    const open = await Promise.allSettled([this.producer, this.admin]);
    for (const one of open)
      if (one.status === 'fulfilled') await one.value?.disconnect().catch(() => undefined);
  }

  private async send(messages: readonly OutgoingMessage[]): Promise<Delivery[]> {
    await this.prepare([...new Set(messages.map(({ topic }) => topic))]);
    const producer = await (this.producer ??= this.connected(this.newProducer()));
    const records = messages.map(({ key, value, headers }): Message => ({ key, value, headers }));
    const byTopic = new Map<string, Message[]>();
    messages.forEach(({ topic }, i) => {
      const batch = byTopic.get(topic);
      if (batch) batch.push(records[i]!);
      else byTopic.set(topic, [records[i]!]);
    });
    const stored = await producer.sendBatch({
      acks: ACKS_ALL,
      topicMessages: [...byTopic].map(([topic, batch]) => ({ topic, messages: batch })),
    });
    return confirm(
      messages.map(({ topic }, i) => ({ topic, partition: this.partitions.get(records[i]!) })),
      stored,
    );
  }

  private openAdmin(): Promise<Admin> {
    return (this.admin ??= this.connected(this.kafka.admin({ retry: { retries: 2 } })));
  }

  private newProducer(): Producer {
    const partitioner = Partitioners.DefaultPartitioner();
    return this.kafka.producer({
      idempotent: true,
      allowAutoTopicCreation: false,
      // More than the deadline allows is of no use: the outbox is what tries again.
      retry: { retries: 8, initialRetryTime: 50, maxRetryTime: 1000 },
      createPartitioner: () => (args) => {
        const partition = partitioner(args);
        this.partitions.set(args.message, partition);
        return partition;
      },
    });
  }

  private async connected<C extends Producer | Admin>(client: C): Promise<C> {
    await client.connect();
    return client;
  }

  private discard(which: 'producer' | 'admin'): void {
    const former: Promise<Producer | Admin> | undefined = this[which];
    this[which] = undefined;
    // Topics may have been deleted meanwhile.
    this.topics.clear();
    former?.then((client) => client.disconnect()).catch(() => undefined);
  }

  private topicConfig(topic: string): ITopicConfig {
    const replicas = this.config.KAFKA_REPLICATION;
    const entries: Record<string, string | number> = {
      // The moment as of which tokens are verified: the broker's, as a sender may claim any.
      'message.timestamp.type': 'LogAppendTime',
      'retention.ms': TOPIC_RETENTION_MS,
      'min.insync.replicas': replicas >= 3 ? 2 : 1,
      'max.message.bytes': MAX_MESSAGE_BYTES + HEADROOM_BYTES,
    };
    return {
      topic,
      numPartitions: this.config.KAFKA_PARTITIONS,
      replicationFactor: replicas,
      configEntries: Object.entries(entries).map(([name, value]) => ({ name, value: String(value) })),
    };
  }
}

/**
 * kafkajs 2.2.4 reports success although it left a partition out: when one broker has answered and another one failed, it does not
 * send the partitions that have moved from the one that failed to the one that has answered. So only those count whose partition the
 * answer names.
 */
export function confirm(
  wanted: Array<{ topic: string; partition: number | undefined }>,
  stored: RecordMetadata[],
): Delivery[] {
  const keys = new Set(
    stored
      .filter(({ errorCode }) => errorCode === 0)
      .map(({ topicName, partition }) => `${topicName}/${partition}`),
  );
  const missing = new RetryableError('handoff-unavailable', 'Kafka: the partition was left out');
  return wanted.map(({ topic, partition }) => (keys.has(`${topic}/${partition}`) ? 'delivered' : missing));
}
