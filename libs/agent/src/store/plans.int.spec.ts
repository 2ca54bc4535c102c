import { Pool } from 'pg';
import { KEYED_PLANS, type Database, type Query } from '#libs/database';
import { OutboxRepository, type Dispatch } from '#libs/messaging';
import { openStore, type Store } from '../agent.fixture.js';
import { DispatchRepository, WAITING } from './dispatch.repository.js';
import { CLAIM } from './run.statements.js';

jest.setTimeout(60_000);

const AGENT = 'agent-plans';
/** Enough for an index without the session to look cheaper than the one of sessions, and one task each as without `session_id`. */
const TASKS = 15_000;

interface Plan {
  Plan: { 'Shared Hit Blocks': number; 'Shared Read Blocks': number };
}

let store: Store;
/** Connections as those of a service. */
let pool: Pool;
beforeAll(async () => {
  store = await openStore();
  pool = new Pool({ connectionString: store.databaseUrl, options: KEYED_PLANS });
  await store.sql.query('alter table agents.tasks set (autovacuum_enabled = false)');
  await store.sql.query(
    `insert into agents.tasks (id, agent_id, tenant, session_id, request_hash, prompt, metadata, max_steps, token_budget, deadline, dispatched_at)
     select gen_random_uuid(), $1, 'acme', gen_random_uuid(), 'hash', 'What is up?', '{}', 5, 1000, now() + interval '1 day', now() - interval '1 h'
     from generate_series(1, $2::int) n`,
    [AGENT, TASKS],
  );
});
afterAll(async () => {
  await pool.end();
  await store.stop();
});

/** Pages of the cache that the statement looks at: what a slow plan has too many of, on a machine of any speed. */
async function pages(statement: string, types: string, values: string): Promise<number> {
  const client = await pool.connect();
  try {
    await client.query(`prepare planned (${types}) as ${statement}`);
    await client.query('begin');
    const { rows } = await client.query<{ 'QUERY PLAN': Plan[] }>(
      `explain (analyze, buffers, format json) execute planned (${values})`,
    );
    await client.query('rollback');
    const { Plan: plan } = rows[0]!['QUERY PLAN'][0]!;
    return plan['Shared Hit Blocks'] + plan['Shared Read Blocks'];
  } finally {
    client.release(true);
  }
}

/** How many rows the scans of a table and of its indexes returned to `work`, which is rolled back. */
async function rowsRead(table: string, work: (database: Database) => Promise<unknown>): Promise<number> {
  const client = await pool.connect();
  const query: Query = async (sql, values = []) =>
    (await client.query(typeof sql === 'string' ? { text: sql } : sql, values)).rows as never;
  const transaction = <T>(within: (query: Query) => Promise<T>): Promise<T> => within(query);
  try {
    await client.query('begin');
    await work({ query, transaction } as unknown as Database);
    const { rows } = await client.query<{ read: string }>(
      `select sum(pg_stat_get_xact_tuples_returned(oid)) as read
       from (select $1::regclass as oid union all select indexrelid from pg_index where indrelid = $1::regclass) relations`,
      [table],
    );
    await client.query('rollback');
    return Number(rows[0]!.read);
  } finally {
    client.release(true);
  }
}

const outboxOf = (database: Database, service = AGENT) =>
  new OutboxRepository(database, { schema: 'agents', service } as ConstructorParameters<
    typeof OutboxRepository
  >[1]);

/** A young installation has no statistics yet. */
describe('planned without statistics, with many waiting tasks', () => {
  it('the look for lost jobs costs a few pages per task', async () => {
    const looked = await pages(WAITING, 'text, int, bigint, int', `'${AGENT}', 1000, 12000, 2000`);
    expect(looked).toBeGreaterThan(2000);
    expect(looked).toBeLessThan(20 * 2000);
  });

  it('what the queue is told next costs no more than its own rows', async () => {
    await store.sql.query('alter table agents.outbox set (autovacuum_enabled = false)');
    await store.sql.query(
      `insert into agents.outbox (task_id, dispatch_no, agent_id, due_at)
       select id, 1, agent_id, created_at + accepted_no * interval '1 us' from agents.tasks where agent_id = $1`,
      [AGENT],
    );
    let told: Dispatch[] = [];
    const read = await rowsRead('agents.outbox', (database) =>
      new DispatchRepository(database).relay(
        AGENT,
        100,
        1000,
        async (dispatches) => void (told = dispatches),
      ),
    );
    expect(told).toHaveLength(100);
    expect(read).toBeLessThan(600);
  });

  it('a claim costs a few pages', async () => {
    const { rows } = await store.sql.query<{ id: string }>(
      'select id from agents.tasks where agent_id = $1 order by accepted_no desc limit 1',
      [AGENT],
    );
    const looked = await pages(CLAIM.text, 'uuid[], int', `array['${rows[0]!.id}']::uuid[], 1000`);
    expect(looked).toBeGreaterThan(3);
    expect(looked).toBeLessThan(50);
  });

  it.each([true, false])(
    'a batch of the outbox costs no more than its own rows (one at a time: %s)',
    async (oneAtATime) => {
      await store.sql.query('alter table agents.messages set (autovacuum_enabled = false)');
      await store.sql.query(
        `insert into agents.messages (source, destination, key, kind, body, tenant)
       select $1, 'agent.tasks.b', gen_random_uuid(), 'AgentTaskEvent', '{}', 'acme' from generate_series(1, 5000)`,
        [AGENT],
      );
      let taken: unknown[] = [];
      const read = await rowsRead('agents.messages', async (database) => {
        taken = await outboxOf(database).take(100, 1000, oneAtATime);
      });
      expect(taken).toHaveLength(100);
      expect(read).toBeLessThan(400);
    },
  );

  it.each(['none', 'of an empty table', 'of now'])(
    'a batch of the outbox costs no more with many messages under way before it (statistics: %s)',
    async (statistics) => {
      const [waiting, idle] = [`agent-waiting ${statistics}`, `agent-idle ${statistics}`];
      await store.sql.query('delete from agents.messages');
      if (statistics === 'of an empty table') await store.sql.query('vacuum analyze agents.messages');
      for (const source of [waiting, idle])
        await store.sql.query(
          `insert into agents.messages (source, destination, key, kind, body, tenant, under_way, due_at)
           select $1, 'agent.dead-letters', gen_random_uuid(), 'DeadLetterEvent', '{}', 'acme', n <= 20000,
                  case when n between 2 and 20000 then now() + interval '5 minutes' else now() end
           from generate_series($2::int, $3::int) n`,
          [source, ...(source === waiting ? [1, 21_000] : [2, 20_000])],
        );
      if (statistics === 'of now') await store.sql.query('analyze agents.messages');
      let taken: unknown[] = [];
      const read = await rowsRead('agents.messages', async (database) => {
        taken = await outboxOf(database, waiting).take(100, 1000, true);
      });
      expect(read).toBeLessThan(400);
      // 100 new ones, and the one that is to be looked up.
      expect(taken).toHaveLength(101);
      for (const [source, due] of [
        [waiting, true],
        [idle, false],
      ] as const) {
        const looked = await rowsRead('agents.messages', async (database) => {
          expect(await outboxOf(database, source).hasDue(true)).toBe(due);
        });
        expect(looked).toBeLessThan(10);
        const told = await rowsRead('agents.messages', async (database) => {
          expect((await outboxOf(database, source).standing()).underWay).toBeGreaterThan(19_000);
        });
        // The count may look at every row and its index entry, and at what was rolled back; the first that waits is found at once.
        expect(told).toBeLessThan(45_000);
      }
    },
  );
});
