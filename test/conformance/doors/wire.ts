import { Queue, Worker } from 'bullmq';
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

export class BullWire implements Wire {
  private readonly queues = new Map<string, Queue>();
  private workers: Worker[] = [];

  constructor(private readonly redisUrl: string) {}

  async send({ id, topic, key, headers, value }: WireMessage): Promise<void> {
    let queue = this.queues.get(topic);
    if (!queue) this.queues.set(topic, (queue = new Queue(topic, { connection: { url: this.redisUrl } })));
    await queue.add('message', { key, headers, value: value.toString('base64') }, { jobId: id });
  }

  async listen(topics: string[], receive: Receive): Promise<void> {
    const connection = { url: this.redisUrl, maxRetriesPerRequest: null };
    this.workers = topics.map(
      (topic) =>
        new Worker<{ headers: Record<string, string>; value: string }>(
          topic,
          ({ data }) => receive({ topic, headers: data.headers, value: Buffer.from(data.value, 'base64') }),
          { connection },
        ),
    );
    await Promise.all(this.workers.map((worker) => worker.waitUntilReady()));
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.close()));
    await Promise.all([...this.queues.values()].map((queue) => queue.close()));
  }
}
