import { startThrowawayKafka } from '#libs/devstack';
import { describeKafka } from '#libs/testing';
import { killedAnywhere } from './hand-off.suite.js';

jest.setTimeout(240_000);

describeKafka('with Kafka', () =>
  killedAnywhere('Kafka', async () => {
    const kafka = await startThrowawayKafka();
    return { env: { KAFKA_BROKERS: kafka.brokers }, stop: () => kafka.stop() };
  }),
);
