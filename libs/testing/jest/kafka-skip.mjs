// In a file of the kafka project everything needs Kafka: without it, all of it is counted as skipped. kafka-setup.mjs has said why.
if (process.env.TEST_KAFKA_SKIP) {
  globalThis.describe = globalThis.describe.skip;
  globalThis.it = globalThis.it.skip;
  globalThis.test = globalThis.test.skip;
}
