import {
  kafkaSkip,
  startThrowawayKafka,
  startThrowawaySchemaRegistry,
} from '../../../dist/libs/devstack/src/index.js';
import startStack from './global-setup.mjs';

const notice = (line) => process.stderr.write(`${line}\n`);

/**
 * One Kafka and one schema registry for all test files, beside Postgres and Redis, unless `TEST_KAFKA_BROKERS` and
 * `TEST_SCHEMA_REGISTRY_URL` name others. Where this machine has none, `TEST_KAFKA_SKIP` says why, and kafka-skip.mjs skips the tests.
 */
export default async function kafkaSetup() {
  const isGiven = process.env.TEST_KAFKA_BROKERS && process.env.TEST_SCHEMA_REGISTRY_URL;
  const reason = isGiven ? null : kafkaSkip();
  if (reason) {
    process.env.TEST_KAFKA_SKIP = reason;
    notice(`SKIPPED: the tests that need Kafka. ${reason}`);
    return;
  }
  await startStack();
  if (isGiven) return;
  const [kafka, registry] = await Promise.all([
    startThrowawayKafka({ notice }),
    startThrowawaySchemaRegistry({ notice }),
  ]);
  process.env.TEST_KAFKA_BROKERS ||= kafka.brokers;
  process.env.TEST_SCHEMA_REGISTRY_URL ||= registry.url;
  globalThis.batonThrowawayKafka = { stop: () => Promise.all([kafka.stop(), registry.stop()]) };
}
