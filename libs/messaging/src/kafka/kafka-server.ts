import { setTimeout as sleep } from 'node:timers/promises';
import { KafkaContext, ServerKafka, type MessageHandler } from '@nestjs/microservices';
import kafkajs, { type Consumer, type EachBatchPayload, type Kafka, type KafkaMessage } from 'kafkajs';
import { messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import type { Handoff, PoisonHandler } from '../handoff/handoff.js';
import type { MessageReceiver } from '../handoff/receiver.js';
import { PartitionWork } from './partition-work.js';
import { brokerStamped, rawMessage } from './raw-message.js';

// Node finds no named export of it in kafkajs' CommonJS.
const { KafkaJSError } = kafkajs;

/** A member that is silent for so long loses its partitions. */
const SESSION_TIMEOUT_MS = 10_000;
const REBALANCE_TIMEOUT_MS = 30_000;
const HEARTBEAT_MS = 2000;
const PULSE_MS = 1000;
/** How long the broker keeps a fetch that finds nothing; stopping and resuming a partition take up to as long. */
const FETCH_WAIT_MS = 250;
const COMMIT_EVERY_MS = 250;
const PARTITIONS_AT_ONCE = 16;
const CONNECT_AGAIN_MS = 1000;

export interface KafkaServerOptions {
  kafka: Kafka;
  /** Group id, as the lag metric knows it. */
  group: string;
  handoff: Handoff;
  receiver: MessageReceiver;
  onPoison: PoisonHandler;
  /** A bug, or a broker that will never have us: the process has to end rather than go on deaf. */
  onCrash: (error: unknown) => void;
  logger: Logger;
}

const placeOf = (topic: string, partition: number): string => JSON.stringify([topic, partition]);

/**
 * Nest's Kafka transport with another loop: see docs/adr/0008-hand-off.md. Handlers are ordinary `@EventPattern(topic)` methods;
 * what they get is an `IncomingMessage`. Connects in the background for as long as it takes.
 */
export class KafkaHandoffServer extends ServerKafka {
  /** Of this assignment, by topic and partition. */
  private works = new Map<string, PartitionWork>();
  private committed = new Map<string, string>();
  /** Of the latest batch: what it can do for one partition, it can for all. */
  private payload: EachBatchPayload | null = null;
  private committing?: NodeJS.Timeout;
  private readonly unstamped = new Set<string>();
  private joined = false;
  private draining = false;
  private connecting: Promise<void> = Promise.resolve();

  constructor(private readonly own: KafkaServerOptions) {
    super({ consumer: { groupId: own.group }, postfixId: '' });
  }

  /** True while this process is a member of the group. */
  get isMember(): boolean {
    return this.joined;
  }

  override async listen(callback: (error?: unknown) => void): Promise<void> {
    this.connecting = this.keepConnecting();
    callback();
  }

  /** Finishes what is in hand, commits it and leaves the group. */
  async drain(): Promise<void> {
    this.draining = true;
    await this.connecting;
    clearInterval(this.committing);
    await this.giveUp();
    await this.commit().catch(() => undefined);
    await this.consumer?.stop().catch(() => undefined);
  }

  override async close(): Promise<void> {
    await this.drain();
    await this.consumer?.disconnect().catch(() => undefined);
    this.consumer = null;
  }

  private async keepConnecting(): Promise<void> {
    while (!this.draining)
      try {
        await this.start(() => undefined);
        return;
      } catch (error) {
        this.own.logger.warn({ err: messageOf(error) }, 'no connection to Kafka yet');
        await this.consumer?.disconnect().catch(() => undefined);
        await sleep(CONNECT_AGAIN_MS);
      }
  }

  /** Nest's own would open a producer, too: everything is published by the relay. */
  override async start(callback: () => void): Promise<void> {
    await this.own.handoff.prepare(this.topics());
    const consumer = this.own.kafka.consumer({
      groupId: this.groupId,
      sessionTimeout: SESSION_TIMEOUT_MS,
      rebalanceTimeout: REBALANCE_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_MS,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      allowAutoTopicCreation: false,
      retry: { retries: 8, initialRetryTime: 100, maxRetryTime: 2000, restartOnFailure: restartable },
    });
    this.consumer = consumer;
    this.registerConsumerEventListeners();
    consumer.on(consumer.events.GROUP_JOIN, () => this.assigned());
    for (const event of [consumer.events.REBALANCING, consumer.events.STOP, consumer.events.DISCONNECT])
      consumer.on(event, () => {
        this.joined = false;
        void this.giveUp();
      });
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (!payload.restart) this.own.onCrash(payload.error);
    });
    await consumer.connect();
    await this.bindEvents(consumer);
    callback();
  }

  override async bindEvents(consumer: Consumer): Promise<void> {
    await consumer.subscribe({ topics: this.topics(), fromBeginning: true });
    await consumer.run({
      eachBatch: (payload) => this.handleBatch(payload),
      // What is read and what is done are two things.
      autoCommit: false,
      partitionsConsumedConcurrently: PARTITIONS_AT_ONCE,
    });
    // A request for all partitions: one after each batch would cost more than what it saves the next consumer.
    this.committing = setInterval(() => void this.commit().catch(() => undefined), COMMIT_EVERY_MS).unref();
  }

  /** Topics are known by their name; Nest would first try to read each as JSON. */
  override getHandlerByPattern(topic: string): MessageHandler | null {
    return this.messageHandlers.get(topic) ?? null;
  }

  private topics(): string[] {
    return [...this.messageHandlers.keys()].map(String);
  }

  private assigned(): void {
    this.joined = true;
    void this.giveUp();
    this.works = new Map();
    this.committed = new Map();
    this.payload = null;
  }

  /** Begins nothing more of what was read; resolves when nothing is in hand. */
  private async giveUp(): Promise<void> {
    await Promise.all([...this.works.values()].map((work) => work.halt()));
  }

  private async handleBatch(payload: EachBatchPayload): Promise<void> {
    if (this.draining) return;
    this.payload = payload;
    const { topic, partition, messages } = payload.batch;
    const work = await this.workFor(topic, partition, messages[0]?.offset);
    if (!work) return;
    const ended = new AbortController();
    const pulse = this.keepAlive(payload, ended.signal).catch(async (error: unknown) => {
      await work.halt();
      throw error;
    });
    pulse.catch(() => undefined);
    try {
      await work.add(messages);
      ended.abort();
      await pulse;
      // The group forms anew: whoever gets the partition begins behind what is done.
      if (!this.joined) await this.commit();
    } catch (error) {
      // Most likely the partition goes to somebody else, who begins where we end; if it does not, we do.
      await work.halt();
      await this.commit().catch(() => undefined);
      this.beginAnew(topic, partition, work);
      if (!(error instanceof KafkaJSError || this.draining)) this.own.onCrash(error);
      throw error;
    }
    if (work.hasRoom) return;
    // Other partitions go on, and the group hears of us by the fetches.
    const full = [{ topic, partitions: [partition] }];
    this.consumer?.pause(full);
    work.whenRoom(() => this.resume(full));
  }

  /** A consumer that has stopped meanwhile begins again with nothing paused. */
  private resume(topics: Array<{ topic: string; partitions: number[] }>): void {
    try {
      this.consumer?.resume(topics);
    } catch (error) {
      this.own.logger.debug({ err: messageOf(error) }, 'not resumed');
    }
  }

  /** Reads the partition from where `work` ends, unless another work has taken its place. */
  private beginAnew(topic: string, partition: number, work: PartitionWork): void {
    const place = placeOf(topic, partition);
    if (this.works.get(place) !== work) return;
    this.works.delete(place);
    this.consumer?.seek({ topic, partition, offset: work.offset! });
  }

  /** The group hears of this member while messages are handled, however long that takes. */
  private async keepAlive(payload: EachBatchPayload, ended: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(PULSE_MS, undefined, { signal: ended }).catch(() => undefined);
      if (ended.aborted) return;
      await payload.heartbeat();
    }
  }

  /**
   * The work that goes on with a message at `offset`. If that was read before, the log was cut and its consumer set back, or it is read again
   * after an error: then the work begins anew, and the inbox knows what is done. Null: from before `offset`, by another fetch.
   */
  private async workFor(topic: string, partition: number, offset = '0'): Promise<PartitionWork | null> {
    const work = this.workOn(topic, partition);
    if (!work.hasRead(offset)) return work;
    await work.halt();
    if (BigInt(work.offset!) < BigInt(offset)) {
      this.beginAnew(topic, partition, work);
      return null;
    }
    this.works.delete(placeOf(topic, partition));
    return this.workOn(topic, partition);
  }

  private workOn(topic: string, partition: number): PartitionWork {
    const place = placeOf(topic, partition);
    let work = this.works.get(place);
    if (!work) {
      work = new PartitionWork({
        receive: (message) => this.receive(topic, partition, message),
        onFailure: this.own.onCrash,
      });
      this.works.set(place, work);
    }
    return work;
  }

  /** Commits how far each partition is done, past which nothing is open. */
  private async commit(): Promise<void> {
    const topics = [...this.works].flatMap(([place, { offset }]) => {
      if (offset === null || this.committed.get(place) === offset) return [];
      const [topic, partition] = JSON.parse(place) as [string, number];
      return [{ place, topic, partitions: [{ partition, offset }] }];
    });
    if (topics.length === 0) return;
    const { committed } = this;
    await this.payload?.commitOffsetsIfNecessary({ topics });
    for (const { place, partitions } of topics) committed.set(place, partitions[0]!.offset);
  }

  private receive(topic: string, partition: number, message: KafkaMessage) {
    if (!brokerStamped(message) && !this.unstamped.has(topic)) {
      this.unstamped.add(topic);
      this.own.logger.warn(
        { topic },
        'senders set the time of messages: set message.timestamp.type=LogAppendTime, or tokens have to be valid when messages are read',
      );
    }
    const heartbeat = async () => this.payload?.heartbeat();
    const context = new KafkaContext([
      message as never,
      partition,
      topic,
      this.consumer!,
      heartbeat,
      null as never,
    ]);
    return this.own.receiver.receive(
      rawMessage(topic, partition, message),
      (incoming) => this.handleEvent(topic, { pattern: topic, data: incoming }, context),
      this.own.onPoison,
    );
  }
}

/** An error of ours is a bug that another start would only repeat; Kafka's come and go, unless Kafka says that they stay. */
async function restartable(error: Error): Promise<boolean> {
  let cause: unknown = error;
  while (cause instanceof Error && cause.cause) cause = cause.cause;
  return cause instanceof KafkaJSError;
}
