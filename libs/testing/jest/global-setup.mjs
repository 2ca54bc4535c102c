import { startThrowawayStack } from '../../../dist/libs/devstack/src/index.js';

/**
 * One Postgres and one Redis for all test files, started unless `TEST_DATABASE_URL` and `TEST_REDIS_URL` name others.
 * They end with the teardown, and with this process however it ends.
 */
export default async function globalSetup() {
  if (process.env.TEST_DATABASE_URL && process.env.TEST_REDIS_URL) return;
  const stack = await startThrowawayStack(undefined, (line) => process.stderr.write(`${line}\n`));
  process.env.TEST_DATABASE_URL ||= stack.databaseUrl;
  process.env.TEST_REDIS_URL ||= stack.redisUrl;
  globalThis.batonThrowawayStack = stack;
}
