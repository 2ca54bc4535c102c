export default async function globalTeardown() {
  await globalThis.batonThrowawayStack?.stop();
}
