import { existsSync } from 'node:fs';
import pg from 'pg';
import { startPostgres } from './postgres.js';
import { isRunning } from './processes.js';
import { pingRedis } from './redis.js';
import { startThrowawayStack, type ThrowawayStack } from './throwaway.js';

jest.setTimeout(120_000);

async function ask<R extends pg.QueryResultRow>(url: string, sql: string): Promise<R[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<R>(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('startThrowawayStack', () => {
  let stack: ThrowawayStack;
  beforeAll(async () => (stack = await startThrowawayStack()));
  afterAll(() => stack.stop());

  it('runs Postgres with its real durability', async () => {
    const settings = await ask<{ name: string; setting: string }>(
      stack.databaseUrl,
      "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'listen_addresses') order by name",
    );
    expect(settings.map(({ setting }) => setting)).toEqual(['on', 'on', '127.0.0.1', 'on']);
  });

  it('keeps what was committed over a SIGKILL of Postgres, and finds its way back to it', async () => {
    await ask(stack.databaseUrl, 'create table kept (n int); insert into kept values (42)');
    process.kill(stack.postgres.process.pid, 'SIGKILL');
    const again = await startPostgres({ folder: stack.folder, port: stack.postgres.port });
    expect(again.startedHere).toBe(true);
    expect(await ask(again.url, 'select n from kept')).toEqual([{ n: 42 }]);
  });

  it('uses a server that runs already', async () => {
    const again = await startPostgres({ folder: stack.folder, port: stack.postgres.port });
    expect(again.startedHere).toBe(false);
  });

  it('leaves nothing behind', async () => {
    const other = await startThrowawayStack();
    await other.stop();
    expect(isRunning(other.postgres.process)).toBe(false);
    await expect(pingRedis(other.redis.port)).rejects.toThrow('ECONNREFUSED');
    expect(existsSync(other.folder)).toBe(false);
  });
});
