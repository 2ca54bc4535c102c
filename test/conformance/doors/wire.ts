import { Queue, QueueEvents, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { Kafka, logLevel, type Consumer, type Producer } from 'kafkajs';

export interface WireMessage {
  /** Also the id of the BullMQ job. */
  id: string;
  topic: string;
  key: string;
  headers: Record<string, string>;
  value: Buffer;
}

type Receive = (message: Omit<WireMessage, 'id' | 'key'>) => Promise<void>;

/** A plain client of the transport under a hand-off, as somebody outside Baton has it. */
export interface Wire {
  send(message: WireMessage): Promise<void>;
  /** Resolves when later messages of these topics arrive. */
  listen(topics: string[], receive: Receive): Promise<void>;
  close(): Promise<void>;
}

export class KafkaWire implements Wire {
  private readonly kafka: Kafka;
  private readonly producer: Producer;
  private consumer?: Consumer;

  constructor(brokers: string) {
    this.kafka = new Kafka({
      clientId: 'conformance',
      brokers: brokers.split(','),
      logLevel: logLevel.NOTHING,
    });
    this.producer = this.kafka.producer({ idempotent: true, allowAutoTopicCreation: false });
  }

  async send({ topic, key, headers, value }: WireMessage): Promise<void> {
    // Connecting twice is harmless.
    await this.producer.connect();
    await this.producer.send({ topic, acks: -1, messages: [{ key, headers, value }] });
  }

  async listen(topics: string[], receive: Receive): Promise<void> {
    const admin = this.kafka.admin();
    await admin.connect();
    await admin.createTopics({
      topics: topics.map((topic) => ({ topic, numPartitions: 6 })),
      waitForLeaders: true,
    });
    await admin.disconnect();
    this.consumer = this.kafka.consumer({ groupId: 'conformance', maxWaitTimeInMs: 100 });
    await this.consumer.connect();
    await this.consumer.subscribe({ topics, fromBeginning: true });
    await this.consumer.run({
      eachMessage: async ({ topic, message }) => {
        const headers = Object.entries(message.headers ?? {}).map(([name, text]) => [name, String(text)]);
        await receive({
          topic,
          value: message.value!,
          headers: Object.fromEntries(headers) as Record<string, string>,
        });
      },
    });
  }

  async close(): Promise<void> {
    await this.consumer?.disconnect();
    await this.producer.disconnect();
  }
}

/** BullMQ knows no keys: who wants order sends the next message when the one before is done, as Baton's own relay does. */
export class BullWire implements Wire {
  private readonly queues = new Map<string, { queue: Queue; events: QueueEvents }>();
  private workers: Worker[] = [];
  private readonly redis: Redis;

  constructor(private readonly redisUrl: string) {
    this.redis = new Redis(redisUrl);
  }

  async send({ id, topic, key, headers, value }: WireMessage): Promise<void> {
    const { queue, events } = this.queue(topic);
    await events.waitUntilReady();
    const job = await queue.add('message', { key, headers, value: value.toString('base64') }, { jobId: id });
    await job.waitUntilFinished(events);
  }

  async listen(topics: string[], receive: Receive): Promise<void> {
    const connection = { url: this.redisUrl, maxRetriesPerRequest: null };
    this.workers = topics.map(
      (topic) =>
        new Worker<{ headers: Record<string, string>; value: string }>(
          topic,
          async ({ id, data }) => {
            await receive({ topic, headers: data.headers, value: Buffer.from(data.value, 'base64') });
            // Whoever takes a message says so, and the sender's next one of the same key need not wait until it looks.
            await this.redis.publish(
              `baton:handoff:delivered:${data.headers['ce_source']?.split('/')[2]}`,
              id!,
            );
          },
          { connection },
        ),
    );
    await Promise.all(this.workers.map((worker) => worker.waitUntilReady()));
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.close()));
    await Promise.all(
      [...this.queues.values()].flatMap(({ queue, events }) => [queue.close(), events.close()]),
    );
    this.redis.disconnect();
  }

  private queue(topic: string): { queue: Queue; events: QueueEvents } {
    let known = this.queues.get(topic);
    if (!known) {
      const connection = { url: this.redisUrl, maxRetriesPerRequest: null };
      known = { queue: new Queue(topic, { connection }), events: new QueueEvents(topic, { connection }) };
      this.queues.set(topic, known);
    }
    return known;
  }
}
