import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type KafkaMessage } from 'kafkajs';
import { kafkaSkip } from './kafka-binaries.js';

/** As `describeKafka` of libs/testing, which stands above this lib. */
export function describeKafka(title: string, tests: () => void): void {
  const reason = kafkaSkip();
  if (reason) process.stderr.write(`SKIPPED: ${title}. ${reason}\n`);
  (reason ? describe.skip : describe)(title, tests);
}

const ATTEMPTS = 60;
const AGAIN_MS = 500;

export const client = (brokers: string) =>
  new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING, retry: { retries: 15 } });

async function repeated<T>(attempt: () => Promise<T>): Promise<T> {
  for (let n = 1; ; n += 1)
    try {
      return await attempt();
    } catch (error) {
      if (n === ATTEMPTS) throw error;
      await sleep(AGAIN_MS);
    }
}

/** kafkajs gives up its first connection when the broker that it tries is the one that was just killed. */
const connected = <C extends { connect(): Promise<void> }>(made: C): Promise<C> =>
  repeated(async () => {
    await made.connect();
    return made;
  });

export async function createTopic(kafka: Kafka, topic: string): Promise<void> {
  const admin = await connected(kafka.admin());
  await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 1 }] });
  // kafkajs' own wait fails at a broker that has not heard of the topic yet.
  await repeated(() => admin.fetchTopicMetadata({ topics: [topic] }));
  await admin.disconnect();
}

export async function produce(kafka: Kafka, topic: string, values: Array<string | Buffer>): Promise<void> {
  const producer = await connected(kafka.producer({ idempotent: true }));
  await producer.send({ topic, acks: -1, messages: values.map((value) => ({ key: 'k', value })) });
  await producer.disconnect();
}

/** The first `count` messages of a topic, for a group of its own. */
export async function consume(kafka: Kafka, topic: string, count: number): Promise<KafkaMessage[]> {
  const consumer = await connected(kafka.consumer({ groupId: `${topic}-${Date.now()}` }));
  const messages: KafkaMessage[] = [];
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise<void>((resolve, reject) => {
    consumer
      .run({
        eachMessage: ({ message }) => {
          messages.push(message);
          if (messages.length === count) resolve();
          return Promise.resolve();
        },
      })
      .catch(reject);
  });
  await consumer.disconnect();
  return messages;
}

export const text = (messages: KafkaMessage[]) => messages.map(({ value }) => value?.toString());

/** The node that leads partition 0. */
export async function leaderOf(kafka: Kafka, topic: string): Promise<number> {
  const admin = await connected(kafka.admin());
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  await admin.disconnect();
  return topics[0]!.partitions[0]!.leader;
}
