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
import { messageOf, RetryableError, TOPIC_RETENTION_DAYS, TOPIC_SEGMENT_DAYS } from '#libs/contracts';
import { HEADROOM_BYTES, MAX_MESSAGE_BYTES } from '../avro/codec.js';
import { envelopeBytes } from '../handoff/envelope.js';
import type { HandoffConfig } from '../handoff/config.js';
import type { Delivery, Handoff, OutgoingMessage } from '../handoff/handoff.js';

const DAY_MS = 86_400_000;
/** After it, the messages count as not delivered and are offered again. */
const PUBLISH_DEADLINE_MS = 8000;
/** That, and what comes before it: tokens may take 5 s. */
const HOLD_MS = 15_000;
/** A topic that failed alone is left alone for so long. */
const REST_MS = 5000;
const ACKS_ALL = -1;

const unavailable = (reason: string, cause?: unknown): RetryableError =>
  new RetryableError('handoff-unavailable', `Kafka: ${reason}`, { cause });

/** What the sends of one `publish` share. */
interface Publication {
  producer: Promise<Producer>;
  messages: readonly OutgoingMessage[];
  outcomes: Delivery[];
  /** Nobody waits any more: what was not sent yet must not be. */
  over: AbortSignal;
}

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
  private readonly restingUntil = new Map<string, number>();
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
      // This one is the broker's answer about a topic; other topics may still be asked for.
      if ((error as Error).name !== 'KafkaJSAggregateError') this.discardAdmin();
      throw unavailable(messageOf(error), error);
    }
  }

  async check(): Promise<void> {
    try {
      await (await this.openAdmin()).describeCluster();
    } catch (error) {
      this.discardAdmin();
      throw error;
    }
  }

  /** Each topic by itself: one that cannot be made or has lost its leader harms no other. */
  async publish(messages: readonly OutgoingMessage[]): Promise<Delivery[]> {
    const [late, resting] = [
      unavailable(`no answer within ${this.deadlineMs} ms`),
      unavailable('failed a moment ago'),
    ];
    const outcomes = messages.map(({ topic }): Delivery => (this.mayTry(topic) ? late : resting));
    const over = new AbortController();
    const batches = [...batchesOf(messages)].filter(([topic]) => this.mayTry(topic));
    const producer = (this.producer ??= this.connected(this.newProducer()));
    // Whoever awaits it gets its error; with topics that cannot be made that is nobody.
    producer.catch(() => undefined);
    const sent = batches.map(([topic, chunks]) =>
      this.send(topic, chunks, { producer, messages, outcomes, over: over.signal }),
    );
    const tooLate = sleep(this.deadlineMs, undefined, { signal: over.signal }).catch(() => undefined);
    await Promise.race([Promise.all(sent), tooLate]);
    over.abort();
    const failed = new Set(messages.filter((_, i) => outcomes[i] !== 'delivered').map(({ topic }) => topic));
    const isHealthy = outcomes.includes('delivered');
    for (const [topic] of batches) if (failed.has(topic)) this.failed(topic, isHealthy);
    if (batches.some(([topic]) => failed.has(topic))) this.discardProducer(producer);
    // What an abandoned send still becomes of is nobody's business.
    return [...outcomes];
  }

  async close(): Promise<void> {
    const open = await Promise.allSettled([this.producer, this.admin]);
    for (const one of open)
      if (one.status === 'fulfilled') await one.value?.disconnect().catch(() => undefined);
  }

  /** One batch after the other, none after one that failed: the order of a key is that of its messages. */
  private async send(topic: string, chunks: number[][], publication: Publication): Promise<void> {
    const { producer, messages, outcomes, over } = publication;
    for (const chunk of chunks)
      try {
        await this.prepare([topic]);
        const client = await producer;
        if (over.aborted) return;
        const records = chunk.map((i): Message => {
          const { key, value, headers } = messages[i]!;
          return { key, value, headers };
        });
        const stored = await client.sendBatch({
          acks: ACKS_ALL,
          topicMessages: [{ topic, messages: records }],
        });
        const wanted = records.map((record) => ({ topic, partition: this.partitions.get(record) }));
        const confirmed = confirm(wanted, stored);
        chunk.forEach((i, n) => (outcomes[i] = confirmed[n]!));
        if (confirmed.some((outcome) => outcome !== 'delivered')) return;
      } catch (error) {
        const reason = error instanceof RetryableError ? error : unavailable(messageOf(error), error);
        for (const i of chunks.flat()) if (outcomes[i] !== 'delivered') outcomes[i] = reason;
        return;
      }
  }

  private mayTry(topic: string): boolean {
    return (this.restingUntil.get(topic) ?? 0) <= performance.now();
  }

  /** @param alone other topics are well: this one must not cost each publication its whole deadline */
  private failed(topic: string, alone: boolean): void {
    // It may have been deleted meanwhile.
    this.topics.delete(topic);
    if (alone) this.restingUntil.set(topic, performance.now() + REST_MS);
    else this.restingUntil.delete(topic);
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

  private discardProducer(former: Promise<Producer>): void {
    if (this.producer === former) this.producer = undefined;
    former.then((client) => client.disconnect()).catch(() => undefined);
  }

  private discardAdmin(): void {
    const former = this.admin;
    this.admin = undefined;
    former?.then((client) => client.disconnect()).catch(() => undefined);
  }

  private topicConfig(topic: string): ITopicConfig {
    const replicas = this.config.KAFKA_REPLICATION;
    const entries: Record<string, string | number> = {
      // The moment as of which tokens are verified: the broker's, as a sender may claim any.
      'message.timestamp.type': 'LogAppendTime',
      'retention.ms': TOPIC_RETENTION_DAYS * DAY_MS,
      'segment.ms': TOPIC_SEGMENT_DAYS * DAY_MS,
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
 * The places of messages by topic, in batches that a broker takes: what it limits is not a message, but the batch of a partition, and
 * kafkajs makes one of everything that it gets at once.
 */
export function batchesOf(messages: readonly OutgoingMessage[]): Map<string, number[][]> {
  const topics = new Map<string, { chunks: number[][]; room: number }>();
  messages.forEach(({ topic, key, headers, value }, i) => {
    const bytes = value.length + envelopeBytes(key, headers);
    const batches = topics.get(topic) ?? { chunks: [], room: 0 };
    if (bytes > batches.room) {
      batches.chunks.push([]);
      batches.room = MAX_MESSAGE_BYTES;
    }
    batches.chunks.at(-1)!.push(i);
    batches.room -= bytes;
    topics.set(topic, batches);
  });
  return new Map([...topics].map(([topic, { chunks }]) => [topic, chunks]));
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
