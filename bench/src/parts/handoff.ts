import { randomUUID } from 'node:crypto';
import { Kafka, logLevel, type Consumer, type EachMessagePayload, type Message } from 'kafkajs';
import type { Subject } from '#libs/auth';
import { tasksTopic } from '#libs/contracts';
import { kafkaSkip, startThrowawayKafka } from '#libs/devstack';
import { TestCaller } from '#libs/testing';
import { median, quantile } from '../measure.js';
import type { Context, Part, Row } from '../part.js';
import { scenario } from '../scenarios.js';
import { SPAWNED_AGENT } from '../stack.js';

const ROUNDS = 5;
const TASKS = 3000;
const PLAIN_MESSAGES = 6000;
const BATCH = 200;
const SESSIONS = 200;
const ONE_BY_ONE = 150;
const VALUE_BYTES = 500;
const WAIT_MS = 120_000;
/** Looking takes of the time that is measured; when the last task came, the tasks themselves tell. */
const LOOK_MS = 200;
const LEAST_RATIO = 0.3;
const MOST_ADDED_MS = 25;
const NOBODY: Subject = { tenant: 'system', userId: null, scopes: [], token: null };

/** Wall clock with fractions of a millisecond. */
const now = () => performance.timeOrigin + performance.now();

/** From a caller's outbox to the accepted task, beside kafkajs with nothing around it, in the same run and on the same broker. */
export const handoff: Part = {
  name: 'handoff',
  title: `Hand-off over Kafka (outbox → accepted task); the floor is plain kafkajs with copies of the same messages (batches of ${BATCH}, acks all, idempotent)`,
  run: async (context) => {
    const reason = kafkaSkip();
    if (reason) return [{ what: `SKIPPED: ${reason}`, baton: '' }];
    context.progress('starting Kafka and an agent behind it');
    const kafka = await startThrowawayKafka();
    const env = { KAFKA_BROKERS: kafka.brokers };
    // The agent's only worker is kept by the first task: what is measured is the hand-off, not what comes after it.
    await context.stack.scenario(scenario('handoff', 1, 600_000));
    const idle = { MAX_BACKLOG: '1000000', LOCAL_RUNS: '0', WORKER_CONCURRENCY: '1' };
    const agent = await context.stack.spawnAgent({ ...env, ...idle });
    const caller = await TestCaller.start({ ...context.stack.callerEnv, ...env }, { reads: false });
    await batonRate(context, caller, BATCH, 'first');
    const plain = await PlainKafka.connect(kafka.brokers, tasksTopic(SPAWNED_AGENT));
    try {
      return [...(await throughput(context, caller, plain)), ...(await latency(context, caller, plain))];
    } finally {
      await plain.close();
      await caller.stop();
      agent.kill('SIGKILL');
      await kafka.stop();
    }
  },
};

async function throughput(context: Context, caller: TestCaller, plain: PlainKafka): Promise<Row[]> {
  const rates: Array<{ baton: number; floor: number }> = [];
  context.progress('warming up');
  await plain.rate(PLAIN_MESSAGES);
  await batonRate(context, caller, TASKS, 'warm');
  for (let round = 0; round < ROUNDS; round += 1) {
    context.progress(`throughput, round ${round + 1} of ${ROUNDS}`);
    const floor = await plain.rate(PLAIN_MESSAGES);
    rates.push({ floor, baton: await batonRate(context, caller, TASKS, String(round)) });
  }
  const ratio = median(rates.map(({ baton, floor }) => baton / floor));
  return [
    {
      what: 'tasks/s, messages/s',
      baton: median(rates.map(({ baton }) => baton)).toFixed(0),
      floor: median(rates.map(({ floor }) => floor)).toFixed(0),
      ratio,
      target: `≥ ${LEAST_RATIO} × plain`,
      ok: ratio >= LEAST_RATIO,
    },
  ];
}

/** Tasks accepted per second, from the first write to the outbox on. */
async function batonRate(
  { baton }: Context,
  caller: TestCaller,
  count: number,
  round: string,
): Promise<number> {
  const run = `${round}-${randomUUID()}`;
  const before = await lastAccepted(baton);
  const started = now();
  for (let i = 0; i < count; i += BATCH)
    await caller.handOffAll(
      Array.from({ length: Math.min(BATCH, count - i) }, (_, k) => ({
        agent: SPAWNED_AGENT,
        prompt: `[handoff] ${run} ${'x'.repeat(VALUE_BYTES - 150)}`,
        sessionId: `${run}-${(i + k) % SESSIONS}`,
        reply: 'none' as const,
      })),
      NOBODY,
    );
  const deadline = started + WAIT_MS;
  for (;;) {
    const [row] = await baton.database.query<{ accepted: number; last: number }>(
      `select count(*)::int as accepted, (extract(epoch from max(created_at)) * 1000)::float8 as last
       from agents.tasks where tenant = $1 and agent_id = $2 and accepted_no > $3 and accepted_no > 0`,
      [NOBODY.tenant, SPAWNED_AGENT, before],
    );
    if (row!.accepted === count) return (count / (row!.last - started)) * 1000;
    if (row!.accepted > count) throw new Error(`${row!.accepted} tasks of ${count} messages`);
    if (now() > deadline) throw new Error(`${row!.accepted} of ${count} tasks accepted`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Counting what comes after it takes an index, and little of the time that is measured. */
async function lastAccepted({ database }: Context['baton']): Promise<string> {
  const [row] = await database.query<{ last: string }>(
    'select coalesce(max(accepted_no), 0) as last from agents.tasks where tenant = $1 and agent_id = $2 and accepted_no > 0',
    [NOBODY.tenant, SPAWNED_AGENT],
  );
  return row!.last;
}

async function latency(context: Context, caller: TestCaller, plain: PlainKafka): Promise<Row[]> {
  context.progress('latency, one at a time');
  const baton: number[] = [];
  const floor: number[] = [];
  for (let i = 0; i < ONE_BY_ONE; i += 1) {
    floor.push(await plain.one());
    baton.push(await batonOne(context, caller));
  }
  return [0.5, 0.99].map((p) => {
    const added = quantile(baton, p) - quantile(floor, p);
    return {
      what: `latency p${p * 100} (ms), added ${added.toFixed(1)}`,
      baton: quantile(baton, p).toFixed(1),
      floor: quantile(floor, p).toFixed(1),
      ...(p === 0.5 ? { target: `added ≤ ${MOST_ADDED_MS} ms`, ok: added <= MOST_ADDED_MS } : {}),
    };
  });
}

/** Milliseconds from the write to the outbox to the task, by the clock that Postgres and this process share. */
async function batonOne({ baton }: Context, caller: TestCaller): Promise<number> {
  const started = now();
  const taskId = await caller.handOff(
    { agent: SPAWNED_AGENT, prompt: '[handoff] one', reply: 'none' },
    NOBODY,
  );
  const deadline = started + WAIT_MS;
  for (;;) {
    const [row] = await baton.database.query<{ at: number }>(
      'select (extract(epoch from created_at) * 1000)::float8 as at from agents.tasks where id = $1',
      [taskId],
    );
    if (row) return row.at - started;
    if (now() > deadline) throw new Error('a task was not accepted');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

type Sample = Pick<Message, 'value' | 'headers'>;

/** One producer and one consumer that does nothing but count, with copies of a message that Baton sent. */
class PlainKafka {
  private received = 0;
  private wanted = Number.POSITIVE_INFINITY;
  private reached: () => void = () => undefined;

  private constructor(
    private readonly producer: ReturnType<Kafka['producer']>,
    private readonly consumer: Consumer,
    private readonly sample: Sample,
  ) {}

  /** @param model the topic whose first message is copied */
  static async connect(brokers: string, model: string): Promise<PlainKafka> {
    const kafka = new Kafka({ clientId: 'plain', brokers: brokers.split(','), logLevel: logLevel.NOTHING });
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic: 'plain', numPartitions: 6 }] });
    await admin.disconnect();
    const plain = new PlainKafka(
      kafka.producer({ idempotent: true, allowAutoTopicCreation: false }),
      kafka.consumer({ groupId: 'plain' }),
      await firstMessage(kafka, model),
    );
    await plain.producer.connect();
    await plain.consumer.connect();
    await plain.consumer.subscribe({ topic: 'plain', fromBeginning: true });
    await plain.consumer.run({ eachMessage: async () => plain.count() });
    return plain;
  }

  async rate(messages: number): Promise<number> {
    const all = this.expect(messages);
    const started = performance.now();
    for (let i = 0; i < messages; i += BATCH) await this.send(Math.min(BATCH, messages - i));
    await all;
    return (messages / (performance.now() - started)) * 1000;
  }

  async one(): Promise<number> {
    const it = this.expect(1);
    const started = performance.now();
    await this.send(1);
    await it;
    return performance.now() - started;
  }

  async close(): Promise<void> {
    await this.consumer.disconnect();
    await this.producer.disconnect();
  }

  private async send(count: number): Promise<void> {
    const messages = Array.from({ length: count }, (_, i) => ({ key: `s${i % SESSIONS}`, ...this.sample }));
    await this.producer.send({ topic: 'plain', acks: -1, messages });
  }

  private expect(messages: number): Promise<void> {
    this.wanted = this.received + messages;
    return new Promise((resolve) => (this.reached = resolve));
  }

  private count(): void {
    this.received += 1;
    if (this.received >= this.wanted) this.reached();
  }
}

async function firstMessage(kafka: Kafka, topic: string): Promise<Sample> {
  const consumer = kafka.consumer({ groupId: 'sample' });
  try {
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    return await new Promise<Sample>((resolve, reject) => {
      const eachMessage = async ({ message: { value, headers } }: EachMessagePayload) =>
        resolve({ value, headers });
      consumer.run({ eachMessage }).catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
}
