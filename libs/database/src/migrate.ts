import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool, PoolClient } from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';

const ASK_AGAIN_MS = 200;
/** A change of a table that waits for a lock holds up everybody behind it: rather try again. */
const LOCK_TIMEOUT_MS = 5000;

export const poolOf = (source: DataSource): Pool => (source.driver as unknown as { master: Pool }).master;

/**
 * Runs the migrations of `source` on connections of their own, without the limits of everyday statements: an index of a large table takes its
 * time. One migrator at a time over all processes, by an advisory lock named after the schema.
 */
export async function migrate(source: DataSource, schema: string): Promise<void> {
  const limits = { poolSize: 2, extra: { keepAlive: true, lock_timeout: LOCK_TIMEOUT_MS } };
  const migrator = new DataSource({ ...source.options, ...limits } as DataSourceOptions);
  await migrator.initialize();
  try {
    await onConnection(migrator, async (client) => {
      const lock = async () => {
        const sql = 'select pg_try_advisory_lock(hashtext($1)) as locked';
        return (await client.query<{ locked: boolean }>(sql, [`baton:${schema}`])).rows[0]!.locked;
      };
      // Who waited for it in a statement would hold up a `create index concurrently`, which waits for all that run.
      while (!(await lock())) await sleep(ASK_AGAIN_MS);
      await client.query(`create schema if not exists "${schema}"`);
      await migrator.runMigrations({ transaction: 'each' });
    });
  } finally {
    await migrator.destroy();
  }
}

/** A connection that ends with `work`, and the locks of its session with it. */
async function onConnection(source: DataSource, work: (client: PoolClient) => Promise<void>): Promise<void> {
  const client = await poolOf(source).connect();
  // Without a listener, a connection that breaks between two statements would end the process; the next statement tells.
  client.on('error', () => undefined);
  try {
    await work(client);
  } finally {
    client.release(true);
  }
}
