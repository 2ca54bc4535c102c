import { randomBytes } from 'node:crypto';
import { Pool } from 'pg';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { startService, type RunningService } from '#libs/chassis';
import { Database } from './database.js';
import { DatabaseModule } from './database.module.js';

jest.setTimeout(60_000);

class Notes1700000000000 implements MigrationInterface {
  name = 'Notes1700000000000';

  async up(runner: QueryRunner): Promise<void> {
    // Two migrators at once would both pass this and fail at the next line.
    await runner.query('select pg_sleep(0.2)');
    await runner.query('create table notes.notes (id int primary key)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table notes.notes');
  }
}

const name = `database_${randomBytes(6).toString('hex')}`;
let server: Pool;
let url: string;
const services: RunningService[] = [];

beforeAll(async () => {
  const serverUrl = process.env['TEST_DATABASE_URL'];
  if (!serverUrl) throw new Error('TEST_DATABASE_URL is not set');
  server = new Pool({ connectionString: serverUrl, max: 1 });
  await server.query(`create database ${name}`);
  url = new URL(name, serverUrl).href;
});
afterAll(async () => {
  for (const service of services) await service.stop();
  await server.query(`drop database ${name} with (force)`);
  await server.end();
});

async function open(databaseUrl = url, statementTimeoutMs = 5000, migrations = [Notes1700000000000]) {
  const service = await startService(
    () => ({
      name: 'notes',
      description: 'A database under test',
      imports: [
        DatabaseModule.forRoot({
          url: databaseUrl,
          schema: 'notes',
          migrations,
          poolMax: 2,
          statementTimeoutMs,
        }),
      ],
    }),
    { PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: 'silent' },
  );
  services.push(service);
  return { service, database: service.app.get(Database) };
}
const count = async (database: Database) =>
  (await database.query<{ n: number }>('select count(*)::int as n from notes.notes'))[0]!.n;

describe('the database of a service', () => {
  it('is migrated once, whoever comes first', async () => {
    const opened = await Promise.all(Array.from({ length: 3 }, () => open()));
    await Promise.all(opened.map(({ database }) => database.whenReady));
    expect(await count(opened[0]!.database)).toBe(0);
    expect(await opened[0]!.database.query('select name from notes.migrations')).toEqual([
      { name: 'Notes1700000000000' },
    ]);
  });

  it('is migrated however long that takes', async () => {
    await server.query(`create database ${name}_slow`);
    const { service, database } = await open(new URL(`${name}_slow`, url).href, 100);
    await database.whenReady;
    expect(await count(database)).toBe(0);
    await service.stop();
    await server.query(`drop database ${name}_slow with (force)`);
  });

  it('is not ready while a migration fails, and tries it again', async () => {
    let fails = true;
    class Failing1700000000001 extends Notes1700000000000 {
      override name = 'Failing1700000000001';
      override async up(runner: QueryRunner): Promise<void> {
        if (fails) throw new Error('not now');
        await super.up(runner);
      }
    }
    await server.query(`create database ${name}_failing`);
    const { service, database } = await open(new URL(`${name}_failing`, url).href, 5000, [
      Failing1700000000001,
    ]);
    await expect(database.query('select 1')).rejects.toThrow('not now');
    fails = false;
    await database.whenReady;
    expect(await count(database)).toBe(0);
    await service.stop();
    await server.query(`drop database ${name}_failing with (force)`);
  });

  it('commits a transaction that resolves and rolls one back that throws', async () => {
    const { database } = await open();
    const insert = (id: number, error?: Error) =>
      database.transaction(async (query) => {
        await query('insert into notes.notes values ($1)', [id]);
        if (error) throw error;
        return id;
      });
    expect(await insert(1)).toBe(1);
    const error = new Error('changed my mind');
    await expect(insert(2, error)).rejects.toBe(error);
    expect(await database.query('select id from notes.notes')).toEqual([{ id: 1 }]);
  });

  it("raises the database's own errors as they are", async () => {
    const { database } = await open();
    await expect(database.query('insert into notes.notes values (1)')).rejects.toMatchObject({
      code: '23505',
    });
    await expect(database.query('select nothing')).rejects.toMatchObject({ code: '42703' });
  });

  it('gives up a statement that takes too long, and goes on', async () => {
    const { database } = await open(url, 200);
    await expect(database.query('select pg_sleep(20)')).rejects.toMatchObject({
      code: 'database-timeout',
      retryable: true,
    });
    expect(await count(database)).toBe(1);
  });

  it('whose connections are cut is away for a moment only', async () => {
    const { database } = await open();
    await database.query('select 1');
    const cut = database.transaction(async (query) => {
      const [row] = await query<{ pid: number }>('select pg_backend_pid() as pid');
      await server.query('select pg_terminate_backend($1)', [row!.pid]);
      await query('select 1');
    });
    await expect(cut).rejects.toMatchObject({ code: 'database-unavailable', status: 503, retryable: true });
    expect(await count(database)).toBe(1);
  });

  it('that is not there does not keep the service from starting', async () => {
    const { service, database } = await open('postgres://baton:secret@127.0.0.1:1/none');
    await expect(database.query('select 1')).rejects.toMatchObject({ code: 'database-unavailable' });
    await expect(database.transaction(async () => 1)).rejects.toMatchObject({ code: 'database-unavailable' });
    const response = await fetch(`${service.url}/ready`);
    expect(response.status).toBe(503);
    expect(await response.text()).not.toContain('secret');
    expect((await fetch(`${service.url}/health`)).status).toBe(200);
  });
});
