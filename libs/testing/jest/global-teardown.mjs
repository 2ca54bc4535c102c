export default async function globalTeardown() {
  await Promise.all([globalThis.batonThrowawayStack?.stop(), globalThis.batonThrowawayKafka?.stop()]);
}
