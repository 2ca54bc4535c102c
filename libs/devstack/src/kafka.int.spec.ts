import { existsSync } from 'node:fs';
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { Kafka, logLevel, type Consumer, type KafkaMessage } from 'kafkajs';
import { kafkaSkip } from './kafka-binaries.js';
import { pingKafka } from './kafka-cluster.js';
import {
  startThrowawayKafka,
  startThrowawaySchemaRegistry,
  type ThrowawayKafka,
  type ThrowawaySchemaRegistry,
} from './throwaway-kafka.js';

jest.setTimeout(180_000);

const skip = kafkaSkip();
if (skip) process.stderr.write(`SKIPPED ${__filename}: ${skip}\n`);
const describeKafka = skip ? describe.skip : describe;

const client = (brokers: string) =>
  new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING, retry: { retries: 15 } });

async function createTopic(kafka: Kafka, topic: string): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] });
  await admin.disconnect();
}

async function produce(kafka: Kafka, topic: string, values: Array<string | Buffer>): Promise<void> {
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  await producer.send({ topic, acks: -1, messages: values.map((value) => ({ key: 'k', value })) });
  await producer.disconnect();
}

/** The first `count` messages of a topic, for a group of its own. */
async function consume(kafka: Kafka, topic: string, count: number): Promise<KafkaMessage[]> {
  const consumer: Consumer = kafka.consumer({ groupId: `${topic}-${Date.now()}` });
  const messages: KafkaMessage[] = [];
  await consumer.connect();
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

const text = (messages: KafkaMessage[]) => messages.map(({ value }) => value?.toString());

describeKafka('a throwaway Kafka of one node', () => {
  let kafka: ThrowawayKafka;
  let registry: ThrowawaySchemaRegistry;
  beforeAll(async () => {
    [kafka, registry] = await Promise.all([startThrowawayKafka(), startThrowawaySchemaRegistry()]);
  });
  afterAll(() => Promise.all([kafka?.stop(), registry?.stop()]));

  it('serves the first consumer group without "coordinator not available"', async () => {
    const complaints: string[] = [];
    const loud = new Kafka({
      brokers: [kafka.brokers],
      logLevel: logLevel.WARN,
      logCreator: () => (entry) => void complaints.push(entry.log.message),
    });
    await createTopic(loud, 'first');
    await produce(loud, 'first', ['a', 'b']);
    expect(text(await consume(loud, 'first', 2))).toEqual(['a', 'b']);
    expect(complaints.filter((line) => /coordinator/i.test(line))).toEqual([]);
  });

  it('carries Avro whose schema the registry keeps compatible', async () => {
    const schemas = new SchemaRegistry({ host: registry.url }, undefined);
    const register = (fields: unknown[]) =>
      schemas.register(
        {
          type: SchemaType.AVRO,
          schema: JSON.stringify({ type: 'record', name: 'Event', namespace: 'dev.baton.test', fields }),
        },
        { subject: 'avro-value' },
      );
    const { id } = await register([{ name: 'taskId', type: 'string' }]);
    const topic = 'avro';
    await createTopic(client(kafka.brokers), topic);
    await produce(client(kafka.brokers), topic, [await schemas.encode(id, { taskId: 't-1' })]);
    const [message] = await consume(client(kafka.brokers), topic, 1);
    expect(await schemas.decode(message!.value!)).toEqual({ taskId: 't-1' });

    const incompatible = register([{ name: 'taskId', type: 'int' }]);
    await expect(incompatible).rejects.toMatchObject({ status: 409 });
  });

  it('keeps what was written over a SIGKILL', async () => {
    const [node] = kafka.nodes;
    await createTopic(client(kafka.brokers), 'kept');
    await produce(client(kafka.brokers), 'kept', ['before']);
    await node!.kill('SIGKILL');
    await expect(pingKafka(kafka.brokers)).rejects.toThrow('ECONNREFUSED');
    await node!.start();
    await produce(client(kafka.brokers), 'kept', ['after']);
    expect(text(await consume(client(kafka.brokers), 'kept', 2))).toEqual(['before', 'after']);
  });

  it('leaves nothing behind', async () => {
    await kafka.stop();
    await expect(pingKafka(kafka.brokers)).rejects.toThrow('ECONNREFUSED');
    expect(existsSync(kafka.folder)).toBe(false);
  });
});
