import pg from 'pg';
import { answer, callTool, TestStack } from '#libs/testing';

jest.setTimeout(120_000);

describe('while Kafka is away', () => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await TestStack.start();
  });
  afterAll(() => stack?.stop());

  it('an agent starts, says so, does the tasks of its other doors, keeps what it cannot send, and stops', async () => {
    // Nobody listens there.
    const agent = await stack.spawnAgent({ KAFKA_BROKERS: '127.0.0.1:1', TASK_TIMEOUT_MS: '60000' });
    const ready = await fetch(`${agent.url}/ready`);
    expect(ready.status).toBe(200);
    expect(((await ready.json()) as { details: Record<string, object> }).details['kafka']).toMatchObject({
      status: 'up',
      degraded: true,
      cause: expect.any(String),
      fix: 'start Kafka, or correct KAFKA_BROKERS',
    });
    const good = await stack.scenario({ name: 'away-good', steps: [answer('Done.')] });
    const bad = await stack.scenario({
      name: 'away-bad',
      steps: [callTool('test_echo', '{'), callTool('test_echo', '{')],
    });
    const api = stack.api(agent);
    expect((await api.run({ prompt: good })).body).toMatchObject({ status: 'completed', output: 'Done.' });
    expect((await api.run({ prompt: bad })).body).toMatchObject({ status: 'failed' });
    await agent.stop();
    expect(await agent.exited).toBe(0);
    const sql = new pg.Client({ connectionString: stack.infrastructure.databaseUrl });
    await sql.connect();
    const { rows } = await sql.query(
      'select kind, count(*)::int as n from agents.messages group by kind order by kind',
    );
    await sql.end();
    expect(rows).toEqual([
      { kind: 'AgentEvent', n: 2 },
      { kind: 'DeadLetterEvent', n: 1 },
    ]);
  });
});
