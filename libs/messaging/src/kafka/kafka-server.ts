import { setTimeout as sleep } from 'node:timers/promises';
import { KafkaContext, ServerKafka, type MessageHandler } from '@nestjs/microservices';
import kafkajs, { type Consumer, type EachBatchPayload, type Kafka, type KafkaMessage } from 'kafkajs';
import { messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import type { Handoff, PoisonHandler } from '../handoff/handoff.js';
import { pauseBefore, type MessageReceiver } from '../handoff/receiver.js';
import { workThrough } from './batch-work.js';
import { brokerStamped, rawMessage } from './raw-message.js';

// Node finds no named export of it in kafkajs' CommonJS.
const { KafkaJSError } = kafkajs;

/** A member that is silent for so long loses its partitions. */
const SESSION_TIMEOUT_MS = 10_000;
const REBALANCE_TIMEOUT_MS = 30_000;
const HEARTBEAT_MS = 2000;
/** How long the broker keeps a fetch that finds nothing; stopping and resuming a partition take up to as long. */
const FETCH_WAIT_MS = 250;
const COMMIT_EVERY_MS = 1000;
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

/** What is known of a partition between two batches. */
interface Progress {
  next: string | null;
  ahead: ReadonlySet<string>;
  attempts: number;
}

/**
 * Nest's Kafka transport with another loop: see docs/adr/0008-hand-off.md. Handlers are ordinary `@EventPattern(topic)` methods;
 * what they get is an `IncomingMessage`. Connects in the background for as long as it takes.
 */
export class KafkaHandoffServer extends ServerKafka {
  private readonly progress = new Map<string, Progress>();
  private readonly unstamped = new Set<string>();
  /** Counts the assignments; a batch of a former one must not touch offsets any more. */
  private assignment = 0;
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
      consumer.on(event, () => void (this.joined = false));
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
      eachBatchAutoResolve: false,
      autoCommitInterval: COMMIT_EVERY_MS,
      partitionsConsumedConcurrently: PARTITIONS_AT_ONCE,
    });
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
    this.assignment += 1;
    this.progress.clear();
  }

  private async handleBatch(payload: EachBatchPayload): Promise<void> {
    const { topic, partition } = payload.batch;
    const place = `${topic}/${partition}`;
    const assignment = this.assignment;
    const former = this.progress.get(place);
    try {
      const result = await workThrough(payload, {
        receive: (message) => this.receive(payload, message),
        mayGoOn: () => !this.draining && payload.isRunning() && assignment === this.assignment,
        ahead: former?.ahead ?? new Set(),
      });
      if (assignment !== this.assignment) return;
      const attempts = result.next !== null && result.next === former?.next ? former.attempts + 1 : 1;
      this.progress.set(place, { next: result.next, ahead: result.ahead, attempts });
      if (!result.waiting) return;
      // Other partitions go on, and the group hears of us by the fetches.
      const resume = payload.pause();
      setTimeout(resume, pauseBefore(attempts, result.waiting)).unref();
    } catch (error) {
      // kafkajs would try again a few times and then start anew, for ever.
      if (!(error instanceof KafkaJSError || this.draining)) this.own.onCrash(error);
      throw error;
    }
  }

  private receive(payload: EachBatchPayload, message: KafkaMessage) {
    const { topic, partition } = payload.batch;
    if (!brokerStamped(message) && !this.unstamped.has(topic)) {
      this.unstamped.add(topic);
      this.own.logger.warn(
        { topic },
        'senders set the time of messages: set message.timestamp.type=LogAppendTime, or tokens have to be valid when messages are read',
      );
    }
    const heartbeat = () => payload.heartbeat();
    const context = new KafkaContext([
      message as never,
      partition,
      topic,
      this.consumer!,
      heartbeat,
      null as never,
    ]);
    return this.own.receiver.receive(
      rawMessage(payload.batch, message),
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
