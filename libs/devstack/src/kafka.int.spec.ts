import { existsSync } from 'node:fs';
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { Kafka, logLevel } from 'kafkajs';
import { pingKafka } from './kafka-cluster.js';
import { client, consume, createTopic, describeKafka, produce, text } from './kafka.fixture.js';
import {
  startThrowawayKafka,
  startThrowawaySchemaRegistry,
  type ThrowawayKafka,
  type ThrowawaySchemaRegistry,
} from './throwaway-kafka.js';

jest.setTimeout(180_000);

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
