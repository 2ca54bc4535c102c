import { startThrowawayKafka, startThrowawaySchemaRegistry } from '#libs/devstack';
import { describeKafka } from '#libs/testing';
import { handOffSuite } from './hand-off.suite.js';

jest.setTimeout(180_000);

describeKafka('with a schema registry', () =>
  handOffSuite('Kafka', async () => {
    const [kafka, registry] = await Promise.all([startThrowawayKafka(), startThrowawaySchemaRegistry()]);
    return {
      env: { KAFKA_BROKERS: kafka.brokers, SCHEMA_REGISTRY_URL: registry.url, ACCEPTED_EVENTS: 'true' },
      stop: async () => void (await Promise.all([kafka.stop(), registry.stop()])),
    };
  }),
);
