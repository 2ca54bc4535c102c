import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import kafkajs from 'kafkajs';
import { RetryableError } from '#libs/contracts';
import { HANDOFF, type Handoff } from '#libs/messaging';
import { describeKafka } from '#libs/testing';
import {
  handoffDatabase,
  REFUSED_TOKEN,
  startMember,
  taskMessage,
  until,
  type Member,
  type MemberOptions,
} from './member.js';
import { bullmq, kafka, kafkaWithRegistry, newService, newTopic, type Transport } from './transports.js';

jest.setTimeout(180_000);

const { ConfigResourceTypes, Kafka, logLevel } = kafkajs;

/** Members of one transport and one database, ended after each test. */
function house(open: () => Promise<Transport>) {
  const rooms = {} as { transport: Transport; database: Awaited<ReturnType<typeof handoffDatabase>> };
  const members: Member[] = [];
  beforeAll(async () => {
    rooms.transport = await open();
    rooms.database = await handoffDatabase();
  });
  afterEach(async () => {
    for (const member of members.splice(0)) await member.stop();
  });
  afterAll(async () => {
    await rooms.database?.drop();
    await rooms.transport?.stop();
  });
  const start = async (options: Pick<MemberOptions, 'service'> & Partial<MemberOptions>) => {
    const { database, transport } = rooms;
    const member = await startMember({ databaseUrl: database.url, env: transport.env, ...options });
    members.push(member);
    return member;
  };
  const effects = async (service: string) =>
    (await rooms.database.effects()).filter((effect) => effect.service === service);
  return { rooms, start, effects };
}

const hundred = (topic: string, prefix = '') =>
  Array.from({ length: 100 }, (_, i) => taskMessage(topic, `s${i % 10}`, `${prefix}${i}`));

/** Every message once, and in the order of its key. */
function expectOnceInOrder(
  effects: Array<{ message_id: string; key: string; prompt: string }>,
  count: number,
) {
  expect(effects.length).toBe(count);
  expect(new Set(effects.map((effect) => effect.message_id)).size).toBe(count);
  for (const key of new Set(effects.map((effect) => effect.key))) {
    const numbers = effects.filter((effect) => effect.key === key).map(({ prompt }) => Number(prompt));
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
  }
}

describe('faults of the hand-off over BullMQ', () => {
  const { rooms, start, effects } = house(bullmq);

  it('loses nothing when Redis is emptied while messages wait', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const { send } = await start({ service: newService('sender') });
    const redis = new Redis(process.env['TEST_REDIS_URL']!);
    try {
      await send(hundred(topic));
      await until(async () => (await redis.exists(`bull:${topic}:wait`)) === 1);
      // What FLUSHALL does to this queue; other tests share the server.
      const keys = await redis.keys(`bull:${topic}:*`);
      expect(keys.length).toBeGreaterThan(10);
      await redis.del(...keys);
      await start({ service: receiver, topic });
      await until(async () => (await effects(receiver)).length === 100, 60_000);
      expectOnceInOrder(await effects(receiver), 100);
    } finally {
      redis.disconnect();
    }
  });

  it('looks ever more rarely for what nobody takes, and gives it up when a topic would have', async () => {
    const topic = newTopic();
    const sender = newService('sender');
    const { send, relay } = await start({ service: sender });
    const message = taskMessage(topic, 's', '1');
    await send([message]);
    const redis = new Redis(process.env['TEST_REDIS_URL']!);
    const hasJob = async () => (await redis.exists(`bull:${topic}:${message.id}`)) === 1;
    const { pool } = rooms.database;
    const age = async (interval: string) => {
      const set = 'set created_at = now() - $2::interval, due_at = now()';
      await pool.query(`update handoff.messages ${set} where id = $1`, [message.id, interval]);
      relay.wake();
    };
    const dueIn = async () => {
      const { rows } = await pool.query<{ seconds: number }>(
        'select extract(epoch from due_at - now())::float8 as seconds from handoff.messages where id = $1',
        [message.id],
      );
      return rows[0]?.seconds ?? null;
    };
    try {
      await until(hasJob);
      await age('10 minutes');
      await until(async () => (await dueIn())! > 50);
      expect(await dueIn()).toBeLessThan(61);
      await age('6 days');
      await until(async () => (await dueIn())! > 200);
      expect(await dueIn()).toBeLessThan(301);
      // Its job is as old.
      await redis.hset(`bull:${topic}:${message.id}`, 'timestamp', Date.now() - 8 * 86_400_000);
      await age('8 days');
      await until(async () => (await dueIn()) === null);
      expect(await hasJob()).toBe(false);
    } finally {
      redis.disconnect();
    }
  });

  it('offers what never was in a queue, however old, and leaves it there', async () => {
    const topic = newTopic();
    const sender = newService('sender');
    const { relay } = await start({ service: sender });
    const { id, ...message } = taskMessage(topic, 's', '1');
    const redis = new Redis(process.env['TEST_REDIS_URL']!);
    const { pool } = rooms.database;
    try {
      await pool.query(
        `insert into handoff.messages (id, source, destination, key, kind, body, tenant, created_at)
         values ($1, $2, $3, $4, $5, $6, 'acme', now() - interval '8 days')`,
        [id, sender, topic, message.key, message.kind, message.body],
      );
      relay.wake();
      await until(async () => (await redis.exists(`bull:${topic}:${id}`)) === 1, 5000);
      await pool.query('update handoff.messages set due_at = now() where id = $1', [id]);
      relay.wake();
      const waits = `select 1 from handoff.messages where id = $1 and due_at > now() + interval '1 minute'`;
      await until(async () => (await pool.query(waits, [id])).rowCount === 1, 5000);
      expect(await redis.exists(`bull:${topic}:${id}`)).toBe(1);
    } finally {
      await pool.query('delete from handoff.messages where id = $1', [id]);
      redis.disconnect();
    }
  });

  it('brings a message that is told again after it was taken', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    let came = 0;
    await start({
      service: receiver,
      topic,
      onMessage: async (_, effect) => {
        await effect();
        came += 1;
      },
    });
    const { send } = await start({ service: newService('sender') });
    const message = taskMessage(topic, 's', '1');
    for (const times of [1, 2]) {
      await send([message]);
      await until(() => came === times, 5000);
      await until(async () => (await rooms.database.outbox()) === 0);
    }
    // Who has it knows it.
    expect(await effects(receiver)).toHaveLength(1);
  });

  it('takes a pause when nothing can be sent, and forgets nothing of what is under way', async () => {
    const sender = newService('sender');
    const { send, relay, app } = await start({ service: sender });
    const handoff = app.get<Handoff>(HANDOFF);
    const { pool } = rooms.database;
    const first = taskMessage(newTopic(), 's', '1');
    const underWay = async () =>
      (
        await pool.query<{ n: number }>(
          'select count(*)::int as n from handoff.messages where source = $1 and under_way',
          [sender],
        )
      ).rows[0]!.n;
    await send([first]);
    await until(async () => (await underWay()) === 1);
    let tries = 0;
    const lookUp = handoff.lookUp!.bind(handoff);
    handoff.lookUp = async (messages) => {
      tries += 1;
      return messages.map(() => new RetryableError('handoff-unavailable', 'away'));
    };
    await pool.query('update handoff.messages set due_at = now() where source = $1', [sender]);
    const topic = newTopic();
    await send(Array.from({ length: 8000 }, (_, i) => taskMessage(topic, `s${i}`, String(i))));
    for (let i = 0; i < 20; i += 1) {
      await sleep(100);
      relay.wake();
    }
    expect(tries).toBeGreaterThan(1);
    expect(tries).toBeLessThan(6);
    expect(await underWay()).toBe(1);
    // What goes elsewhere is not behind all of that.
    const other = taskMessage(newTopic(), 's', '1');
    handoff.lookUp = async (messages) => {
      const outcomes = await lookUp(messages);
      return messages.map((message, i) =>
        message.topic === topic ? new RetryableError('handoff-unavailable', 'away') : outcomes[i]!,
      );
    };
    await send([other]);
    const isGiven = 'select 1 from handoff.messages where id = $1 and under_way';
    await until(async () => (await pool.query(isGiven, [other.id])).rowCount === 1, 4000);
    await pool.query('delete from handoff.messages where source = $1', [sender]);
  });

  it('tells what lies in a queue that nobody reads from what could not be handed over', async () => {
    const topic = newTopic();
    const sender = newService('sender');
    const { send, relay, outbox } = await start({ service: sender });
    const { pool } = rooms.database;
    // The second one of the session waits for the first.
    await send([taskMessage(topic, 's', '1'), taskMessage(topic, 's', '2')]);
    await pool.query(
      `update handoff.messages set created_at = now() - interval '10 minutes', due_at = now() where source = $1`,
      [sender],
    );
    relay.wake();
    await until(async () => (await outbox.standing()).underWay === 1);
    expect(await outbox.standing()).toEqual({ waitingSeconds: 0, underWay: 1 });
    const stuck = taskMessage(topic, 'other', '3');
    await pool.query(
      `insert into handoff.messages (source, destination, key, kind, body, tenant, created_at, due_at)
       values ($1, $2, $3, $4, $5, 'acme', now() - interval '5 minutes', now() + interval '1 hour')`,
      [sender, topic, stuck.key, stuck.kind, stuck.body],
    );
    const { waitingSeconds } = await outbox.standing();
    expect(waitingSeconds).toBeGreaterThan(299);
    expect(waitingSeconds).toBeLessThan(400);
    // A job that is lost while Redis is away is not under way any more.
    const { rows } = await pool.query<{ id: string }>(
      'select id from handoff.messages where source = $1 and under_way',
      [sender],
    );
    await outbox.release([rows[0]!.id], 60_000);
    expect(await outbox.standing()).toMatchObject({ underWay: 0 });
    expect((await outbox.standing()).waitingSeconds).toBeGreaterThan(599);
    await pool.query('delete from handoff.messages where source = $1', [sender]);
  });

  it('needs no token to look up what is under way: its delegation may be over', async () => {
    const [topic, receiver, sender] = [newTopic(), newService('receiver'), newService('sender')];
    const { send, relay } = await start({ service: sender });
    const message = taskMessage(topic, 's', '1');
    await send([message]);
    const redis = new Redis(process.env['TEST_REDIS_URL']!);
    const { pool } = rooms.database;
    try {
      await until(async () => (await redis.exists(`bull:${topic}:${message.id}`)) === 1);
      await pool.query(
        `update handoff.messages set created_at = now() - interval '2 days', subject_token = $2, due_at = now() where id = $1`,
        [message.id, REFUSED_TOKEN],
      );
      relay.wake();
      const standing = async () =>
        (
          await pool.query<{ kind: string; waits: boolean }>(
            `select kind, due_at > now() + interval '1 minute' as waits from handoff.messages where source = $1`,
            [sender],
          )
        ).rows;
      await until(async () => (await standing()).some(({ kind, waits }) => waits || kind !== message.kind));
      expect(await standing()).toEqual([{ kind: 'AgentTaskEvent', waits: true }]);
      await start({ service: receiver, topic });
      await until(async () => (await effects(receiver)).length === 1 && (await standing()).length === 0);
    } finally {
      redis.disconnect();
    }
  });

  it('goes past jobs that are no messages', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const { Queue } = await import('bullmq');
    const queue = new Queue(topic, { connection: { url: process.env['TEST_REDIS_URL']! } });
    try {
      for (const data of [
        null,
        'text',
        { headers: [], value: 7 },
        { headers: { ce_id: 'x' }, value: 'AAAA' },
      ])
        await queue.add('anything', data);
      await start({ service: receiver, topic });
      const { send } = await start({ service: newService('sender') });
      await send([taskMessage(topic, 's', '1')]);
      await until(async () => (await effects(receiver)).length === 1);
      await until(async () => (await queue.getCompletedCount()) === 5);
      expect(await queue.getFailedCount()).toBe(0);
    } finally {
      await queue.close();
    }
  });
});

describeKafka('faults of the hand-off over Kafka', () => {
  const { rooms, start, effects } = house(kafka);
  const broker = () => rooms.transport.kafka!.nodes[0]!;

  it('goes past whatever bytes somebody puts into the topic, and keeps them as dead letters', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const { database } = await start({ service: receiver, topic });
    const { send } = await start({ service: newService('sender') });
    const client = new Kafka({
      brokers: rooms.transport.env['KAFKA_BROKERS']!.split(','),
      logLevel: logLevel.NOTHING,
    });
    const producer = client.producer();
    await producer.connect();
    const bad: Array<string | Buffer | null> = [
      '{"task_id":"x"}',
      Buffer.from([0, 0, 0, 0, 9, 1]),
      null,
      Buffer.alloc(3),
      Buffer.alloc(1_060_000),
    ];
    await producer.send({ topic, messages: bad.map((value) => ({ key: 's', value })) });
    await producer.disconnect();
    await send([taskMessage(topic, 's', '1')]);
    await until(async () => (await effects(receiver)).length === 1);
    const inbox = await database.query(`select 1 from handoff.inbox where consumer = $1`, [receiver]);
    expect(inbox.length).toBe(bad.length + 1);
  });

  it('makes topics that forget a message after 7 to 8 days, before inboxes and keys do', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    await start({ service: receiver, topic });
    const { send } = await start({ service: newService('sender') });
    await send([taskMessage(topic, 's', '1')]);
    await until(async () => (await effects(receiver)).length === 1);
    const admin = new Kafka({
      brokers: rooms.transport.env['KAFKA_BROKERS']!.split(','),
      logLevel: logLevel.NOTHING,
    }).admin();
    await admin.connect();
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
    });
    await admin.disconnect();
    const value = (name: string) =>
      resources[0]!.configEntries.find(({ configName }) => configName === name)!.configValue;
    expect(Number(value('retention.ms')) / 86_400_000).toBe(7);
    expect(Number(value('segment.ms')) / 86_400_000).toBe(1);
    expect(value('message.timestamp.type')).toBe('LogAppendTime');
  });

  it('sends what is more than a broker takes at once, in order', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    await start({ service: receiver, topic });
    const { send } = await start({ service: newService('sender') });
    await send(
      Array.from({ length: 60 }, (_, i) => {
        const large = taskMessage(topic, 's', String(i));
        large.body.context = { padding: 'x'.repeat(100_000) };
        return large;
      }),
    );
    await until(async () => (await effects(receiver)).length === 60);
    expectOnceInOrder(await effects(receiver), 60);
  });

  it('sends what was under way over BullMQ before', async () => {
    const [topic, receiver, sender] = [newTopic(), newService('receiver'), newService('sender')];
    await start({ service: receiver, topic });
    const { key, kind, body } = taskMessage(topic, 's', '0');
    await rooms.database.pool.query(
      `insert into handoff.messages (source, destination, key, kind, body, tenant, under_way, due_at)
       values ($1, $2, $3, $4, $5, 'acme', true, now() + interval '5 minutes')`,
      [sender, topic, key, kind, body],
    );
    const { send } = await start({ service: sender });
    await until(async () => (await effects(receiver)).length === 1);
    await send([taskMessage(topic, 's', '1')]);
    await until(async () => (await effects(receiver)).length === 2);
    expectOnceInOrder(await effects(receiver), 2);
  });

  it('holds nothing back for a topic that cannot be made', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    await start({ service: receiver, topic });
    const { send } = await start({ service: newService('sender') });
    for (let i = 0; i < 5; i += 1) {
      await send([taskMessage('no topic!', 's', String(i)), taskMessage(topic, 's', String(i))]);
      await until(async () => (await effects(receiver)).length === i + 1, 4000);
    }
    expectOnceInOrder(await effects(receiver), 5);
    await rooms.database.pool.query(`delete from handoff.messages where destination = 'no topic!'`);
  });

  it('goes past messages that wait, in the same partition, and does these in order when they may', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const env = { ...rooms.transport.env, KAFKA_PARTITIONS: '1' };
    let full = true;
    const options: MemberOptions = {
      ...{ service: receiver, topic, env, databaseUrl: rooms.database.url },
      onMessage: async (message, effect) => {
        if (full && message.key.startsWith('full'))
          throw new RetryableError('backlog-full', 'Full', { retryAfterMs: 5000 });
        await effect();
      },
    };
    const first = await start(options);
    const { send } = await start({ service: newService('sender'), env });
    // More than one answer of the broker holds.
    const padding = 'x'.repeat(8000);
    await send(
      Array.from({ length: 300 }, (_, i) => {
        const waiting = taskMessage(topic, `full${i % 30}`, String(i));
        waiting.body.context = { padding };
        return waiting;
      }),
    );
    await send(Array.from({ length: 50 }, (_, i) => taskMessage(topic, `other${i % 5}`, String(i))));
    await until(async () => (await effects(receiver)).length === 50, 15_000);
    // Whoever comes next finds everything that waits, and what was done past it is known.
    await first.stop();
    await start(options);
    await send([taskMessage(topic, 'other', '0')]);
    await until(async () => (await effects(receiver)).length === 51, 20_000);
    full = false;
    await until(async () => (await effects(receiver)).length === 351, 60_000);
    expectOnceInOrder(await effects(receiver), 351);
  });

  it('brings every message once and in order when the broker dies and comes back', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    await start({ service: receiver, topic });
    const { send } = await start({ service: newService('sender') });
    await send(hundred(topic));
    await until(async () => (await effects(receiver)).length > 0);
    await broker().kill('SIGKILL');
    await send(Array.from({ length: 100 }, (_, i) => taskMessage(topic, `s${i % 10}`, String(100 + i))));
    await broker().start();
    await until(async () => (await effects(receiver)).length >= 200, 90_000);
    expectOnceInOrder(await effects(receiver), 200);
  });

  it('sends again what a silent broker did not confirm', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    await start({ service: receiver, topic });
    const { send } = await start({ service: newService('sender') });
    await send([taskMessage(topic, 's', '0')]);
    await until(async () => (await effects(receiver)).length === 1);
    await broker().kill('SIGSTOP');
    try {
      await send(Array.from({ length: 50 }, (_, i) => taskMessage(topic, 's', String(i + 1))));
      // Longer than the deadline of a publication.
      await sleep(12_000);
    } finally {
      await broker().kill('SIGCONT');
    }
    await until(async () => (await effects(receiver)).length >= 51, 90_000);
    expectOnceInOrder(await effects(receiver), 51);
  });
});

describeKafka('the hand-off with a schema registry', () => {
  const { rooms, start, effects } = house(kafkaWithRegistry);
  const registry = (method: string, path: string, body?: object) =>
    fetch(`${rooms.transport.registry!.url}${path}`, {
      method,
      headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      body: body && JSON.stringify(body),
    });

  it('registers its schemas, whoever is first, and checks that new ones can read the old', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const [{ send }] = await Promise.all([
      start({ service: newService('sender') }),
      start({ service: receiver, topic }),
      start({ service: newService('other') }),
    ]);
    await send([taskMessage(topic, 's', '1')]);
    await until(async () => (await effects(receiver)).length === 1);
    const answer = await registry('GET', '/subjects/com.baton.agents.v1.AgentTaskEvent/versions/latest');
    const level = await registry('GET', '/config/com.baton.agents.v1.AgentTaskEvent');
    expect(await level.json()).toEqual({ compatibilityLevel: 'BACKWARD' });
    expect(await answer.json()).toMatchObject({ subject: 'com.baton.agents.v1.AgentTaskEvent', version: 1 });
  });

  it('refuses to start with a schema that cannot read what is there, and names schema and field', async () => {
    const schema = JSON.stringify({
      type: 'record',
      name: 'AgentResultEvent',
      namespace: 'com.baton.agents.v1',
      fields: [{ name: 'task_id', type: 'int' }],
    });
    const subject = 'com.baton.agents.v1.AgentResultEvent';
    const forget = async () => {
      for (const permanently of ['', '?permanent=true'])
        await registry('DELETE', `/subjects/${subject}${permanently}`);
    };
    await forget();
    await registry('POST', `/subjects/${subject}/versions`, { schema });
    await registry('PUT', `/config/${subject}`, { compatibility: 'BACKWARD' });
    await expect(start({ service: newService('late') })).rejects.toMatchObject({
      code: 'schema-incompatible',
      message: expect.stringMatching(
        /AgentResultEvent.*task_id: int cannot be read as string; source_agent: is new and has no default/,
      ) as string,
    });
    await forget();
  });

  it('goes on with the schemas it knows when the registry goes away', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    await start({ service: receiver, topic });
    const sender = await start({ service: newService('sender') });
    await sender.send([taskMessage(topic, 's', '1')]);
    await until(async () => (await effects(receiver)).length === 1);
    const { registry: running } = rooms.transport;
    await running!.stop();
    rooms.transport.registry = undefined;
    await sender.send([taskMessage(topic, 's', '2')]);
    await until(async () => (await effects(receiver)).length === 2);
    // One that comes now starts, and waits with what it has to send.
    const late = await start({ service: newService('late') });
    const ready = (await (await fetch(`${late.url}/ready`)).json()) as { details: Record<string, object> };
    expect(ready.details['schema-registry']).toMatchObject({ degraded: true, cause: expect.any(String) });
    await late.send([taskMessage(topic, 's', '3')]);
    await sleep(1500);
    expect((await effects(receiver)).length).toBe(2);
  });
});
