import { randomUUID } from 'node:crypto';
import { RetryableError, TerminalError } from '#libs/contracts';
import { deadLetterOf } from '#libs/messaging';
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
import { bullmq, kafka, newService, newTopic, type Transport } from './transports.js';

jest.setTimeout(120_000);

function handOffs(open: () => Promise<Transport>): void {
  let transport: Transport;
  let database: Awaited<ReturnType<typeof handoffDatabase>>;
  const members: Member[] = [];

  beforeAll(async () => {
    transport = await open();
    database = await handoffDatabase();
  });
  afterEach(async () => {
    for (const member of members.splice(0)) await member.stop();
  });
  afterAll(async () => {
    await database?.drop();
    await transport?.stop();
  });

  const start = async (options: Pick<MemberOptions, 'service'> & Partial<MemberOptions>): Promise<Member> => {
    const member = await startMember({ databaseUrl: database.url, env: transport.env, ...options });
    members.push(member);
    return member;
  };
  /** What came of the messages to `service`, in the order of the effects. */
  const effectsOf = async (service: string) =>
    (await database.effects()).filter((effect) => effect.service === service);
  const promptsOf = async (service: string, key: string) =>
    (await effectsOf(service)).filter((effect) => effect.key === key).map(({ prompt }) => prompt);

  /** Dead letters that are written from now on. */
  const deadLetters = async () => {
    const since = Date.now();
    const letters: Array<Record<string, unknown>> = [];
    await start({
      service: newService('dead-letters'),
      topic: 'agent.dead-letters',
      onMessage: async ({ body }) => {
        if (body.created_at >= since) letters.push({ ...body });
      },
    });
    return letters;
  };

  it('brings the message, its headers and the time at which it was taken', async () => {
    const [topic, receiver, sender] = [newTopic(), newService('receiver'), newService('sender')];
    const seen: unknown[] = [];
    await start({
      service: receiver,
      topic,
      onMessage: async (message, effect) => {
        seen.push(message);
        await effect();
      },
    });
    const { send } = await start({ service: sender });
    const message = taskMessage(topic, 's1', 'Wann fährt der Zug? 🚆');
    await send([message]);
    await until(() => seen.length === 1);
    expect(seen[0]).toMatchObject({
      id: message.id,
      kind: 'AgentTaskEvent',
      topic,
      key: 's1',
      body: message.body,
      traceparent: message.traceparent,
      headers: {
        authorization: 'Bearer for-agent-search',
        ce_id: message.id,
        ce_source: `/services/${sender}`,
        ce_type: 'com.baton.agents.v1.AgentTaskEvent',
        ce_specversion: '1.0',
        ce_subject: message.body.task_id,
        'content-type': 'application/avro',
        'trace-id': '0af7651916cd43dd8448eb211c80319c',
      },
    });
    const { appendedAt } = seen[0] as { appendedAt: Date };
    expect(Math.abs(appendedAt.getTime() - Date.now())).toBeLessThan(20_000);
    await until(async () => (await database.outbox()) === 0);
  });

  it('keeps the order of a key, whoever of two relays publishes', async () => {
    const [topic, receiver, sender] = [newTopic(), newService('receiver'), newService('sender')];
    await start({ service: receiver, topic });
    const relays = [await start({ service: sender }), await start({ service: sender })];
    const keys = Array.from({ length: 12 }, (__, i) => `session-${i}`);
    const numbers = Array.from({ length: 15 }, (__, i) => String(i));
    await Promise.all(
      keys.map(async (key) => {
        for (const number of numbers)
          await relays[Math.floor(Math.random() * 2)]!.send([taskMessage(topic, key, number)]);
      }),
    );
    await until(async () => (await effectsOf(receiver)).length === keys.length * numbers.length, 60_000);
    for (const key of keys) expect(await promptsOf(receiver, key)).toEqual(numbers);
  });

  it('has one effect when the relay dies between sending and forgetting', async () => {
    const [topic, receiver, sender] = [newTopic(), newService('receiver'), newService('sender')];
    let came = 0;
    await start({
      service: receiver,
      topic,
      onMessage: async (___, effect) => {
        came += 1;
        await effect();
      },
    });
    const first = await start({ service: sender });
    const died = () => Promise.reject(new Error('died'));
    const take = first.outbox.take.bind(first.outbox);
    first.outbox.take = (limit, holdMs, oneAtATime, delivered, aside) =>
      delivered?.length ? died() : take(limit, holdMs, oneAtATime, [], aside);
    first.outbox.delete = died;
    await first.send(Array.from({ length: 20 }, (__, i) => taskMessage(topic, `s${i}`, 'once')));
    await until(() => came >= 20);
    expect(await database.outbox()).toBe(20);
    members.splice(members.indexOf(first), 1);
    await first.stop();
    const second = await start({ service: sender });
    // As if its hold had run out.
    await database.pool.query('update handoff.messages set due_at = now()');
    second.relay.wake();
    await until(async () => (await database.outbox()) === 0);
    expect((await effectsOf(receiver)).length).toBe(20);
  });

  it('keeps a message that has to wait, and what follows it in its session, while others go on', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    let refusals = 3;
    const seen: string[] = [];
    await start({
      service: receiver,
      topic,
      onMessage: async (message, effect) => {
        if (message.key === 'busy' && refusals-- > 0)
          throw new RetryableError('backlog-full', 'Full', { retryAfterMs: 5000 });
        await effect();
        seen.push(message.key);
      },
    });
    const { send } = await start({ service: newService('sender') });
    await send([
      ...['1', '2', '3'].map((prompt) => taskMessage(topic, 'busy', prompt)),
      ...['a', 'b', 'c', 'd', 'e', 'f'].map((key) => taskMessage(topic, key, 'x')),
    ]);
    // Sooner than a client is told to come again: 0.1 + 0.2 + 0.4 s.
    await until(async () => (await effectsOf(receiver)).length === 9, 4000);
    expect(await promptsOf(receiver, 'busy')).toEqual(['1', '2', '3']);
    expect(seen.indexOf('busy')).toBeGreaterThan(0);
  });

  it('makes a dead letter of what its handler refuses or stumbles over, and goes on', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    await start({
      service: receiver,
      topic,
      onMessage: async (message, effect) => {
        const { prompt } = message.body as { prompt: string };
        if (prompt === 'refused')
          throw new TerminalError('validation', 'Invalid fields: max_steps', {
            errors: [{ field: 'max_steps', message: 'at most 25' }],
          });
        if (prompt === 'bug') (undefined as unknown as { x: () => void }).x();
        await effect();
      },
    });
    const letters = await deadLetters();
    const { send } = await start({ service: newService('sender') });
    const [refused, bug] = [taskMessage(topic, 's', 'refused'), taskMessage(topic, 's', 'bug')];
    await send([refused, bug, taskMessage(topic, 's', 'good')]);
    await until(async () => letters.length === 2 && (await effectsOf(receiver)).length === 1);
    expect(letters).toEqual([
      expect.objectContaining({
        reason: 'validation',
        errors: [{ field: 'max_steps', message: 'at most 25' }],
        task_id: refused.body.task_id,
        message_id: refused.id,
        task_json: JSON.stringify(refused.body),
        reported_by: receiver,
      }),
      expect.objectContaining({ reason: 'handler-failed', task_id: bug.body.task_id }),
    ]);
    expect(JSON.stringify(letters)).not.toContain('Bearer');
  });

  it('makes a dead letter of what cannot be sent, and goes on', async () => {
    const [topic, receiver, sender] = [newTopic(), newService('receiver'), newService('sender')];
    await start({ service: receiver, topic });
    const letters = await deadLetters();
    const { send } = await start({ service: sender });
    const broken = taskMessage(topic, 's', 'broken');
    Object.assign(broken.body, { max_steps: 'five' });
    await send([broken, taskMessage(topic, 's', 'good')]);
    await until(async () => letters.length > 0 && (await effectsOf(receiver)).length === 1);
    expect(letters).toEqual([
      expect.objectContaining({ reason: 'avro-invalid', message_id: broken.id, reported_by: sender }),
    ]);
  });

  it('lets no dead letter wait for ever: one that does not fit comes cut, one whose token is refused without it', async () => {
    const sender = newService('sender');
    const letters = await deadLetters();
    const { send } = await start({ service: sender });
    const letter = (more: object, token: string | null = null) => {
      const { key, body, subject, traceparent } = taskMessage('', 's', 'x');
      const raw = {
        id: randomUUID(),
        topic: 't',
        partition: 0,
        offset: null,
        key,
        headers: {},
        value: Buffer.alloc(0),
      };
      const kept = deadLetterOf(
        { raw: raw as never, message: null, code: 'validation', cause: null },
        sender,
      );
      return {
        destination: 'agent.dead-letters',
        key,
        kind: 'DeadLetterEvent' as const,
        body: { ...kept, task_id: body.task_id, ...more },
        subject: { ...subject, token },
        traceparent,
      };
    };
    const given = [
      letter({ task_json: 'x'.repeat(1_100_000) }),
      letter({ task_json: 'kept' }, REFUSED_TOKEN),
      letter({ retry_count: 'many' } as object, REFUSED_TOKEN),
      letter({ task_json: 'good' }),
    ];
    await send(given);
    await until(() => letters.length === given.length);
    const texts = new Map(letters.map((one) => [one['task_id'], one['task_json']]));
    expect(given.map(({ body }) => texts.get(body.task_id))).toEqual([null, 'kept', null, 'good']);
    await until(async () => (await database.outbox()) === 0);
  });

  it('ends the process when a message could neither be handled nor be kept', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const crashes: unknown[] = [];
    const { inbox } = await start({
      service: receiver,
      topic,
      onCrash: (error) => crashes.push(error),
      onMessage: async () => {
        throw new TerminalError('validation', 'wrong');
      },
    });
    inbox.record = () => Promise.reject(new TypeError('a bug of ours'));
    const { send } = await start({ service: newService('sender') });
    await send([taskMessage(topic, 's', 'x')]);
    await until(() => crashes.length > 0);
    expect(crashes[0]).toBeInstanceOf(TypeError);
  });

  it('finishes on a drain what is in hand, and leaves the rest to the next', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const begun: string[] = [];
    const slow: MemberOptions['onMessage'] = async (message, effect) => {
      begun.push(message.id);
      await new Promise((resolve) => setTimeout(resolve, 400));
      await effect();
    };
    const first = await start({ service: receiver, topic, onMessage: slow });
    const { send } = await start({ service: newService('sender') });
    await send(Array.from({ length: 40 }, (__, i) => taskMessage(topic, `s${i % 4}`, String(i))));
    await until(() => begun.length >= 4);
    members.splice(members.indexOf(first), 1);
    await first.stop();
    expect((await effectsOf(receiver)).length).toBe(begun.length);
    await start({ service: receiver, topic });
    await until(async () => (await effectsOf(receiver)).length === 40);
    expect(new Set((await effectsOf(receiver)).map((effect) => effect.message_id)).size).toBe(40);
    for (const key of ['s0', 's1', 's2', 's3']) {
      const numbers = (await promptsOf(receiver, key)).map(Number);
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    }
  });

  it('does not get again what was finished during a drain', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const begun: string[] = [];
    const first = await start({
      service: receiver,
      topic,
      onMessage: async ({ id }, effect) => {
        begun.push(id);
        await new Promise((resolve) => setTimeout(resolve, 300));
        await effect();
      },
    });
    const { send } = await start({ service: newService('sender') });
    await send(['1', '2', '3', '4', '5'].map((prompt) => taskMessage(topic, 's', prompt)));
    await until(() => begun.length === 2);
    members.splice(members.indexOf(first), 1);
    await first.stop();
    const onMessage: MemberOptions['onMessage'] = ({ id }, effect) => (begun.push(id), effect());
    await start({ service: receiver, topic, onMessage });
    await until(async () => (await effectsOf(receiver)).length === 5);
    expect(await promptsOf(receiver, 's')).toEqual(['1', '2', '3', '4', '5']);
    expect(new Set(begun).size).toBe(begun.length);
  });

  it('loses nothing when another member joins while messages are handled', async () => {
    const [topic, receiver] = [newTopic(), newService('receiver')];
    const slow: MemberOptions['onMessage'] = async (__, effect) => {
      await new Promise((resolve) => setTimeout(resolve, 60));
      await effect();
    };
    await start({ service: receiver, topic, onMessage: slow });
    const { send } = await start({ service: newService('sender') });
    const messages = Array.from({ length: 150 }, (__, i) => taskMessage(topic, `s${i % 7}`, String(i)));
    await send(messages.slice(0, 80));
    await until(async () => (await effectsOf(receiver)).length >= 5);
    await start({ service: receiver, topic, onMessage: slow });
    await send(messages.slice(80));
    await until(async () => (await effectsOf(receiver)).length === 150, 60_000);
    for (const key of Array.from({ length: 7 }, (__, i) => `s${i}`)) {
      const numbers = (await promptsOf(receiver, key)).map(Number);
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    }
  });

  it('forgets old inbox rows and keeps the young', async () => {
    const { inbox, database: own } = await start({ service: newService('receiver') });
    const [old, young] = [randomUUID(), randomUUID()];
    for (const id of [old, young])
      expect(await own.transaction((query) => inbox.record(query, id))).toBe(true);
    await own.query(
      `update handoff.inbox set received_at = now() - interval '9 days' where message_id = $1`,
      [old],
    );
    expect(await inbox.prune(8, 1000)).toBe(1);
    expect(await own.transaction((query) => inbox.record(query, young))).toBe(false);
    expect(await own.transaction((query) => inbox.record(query, old))).toBe(true);
  });
}

describe('the hand-off over BullMQ', () => {
  handOffs(bullmq);
});
describeKafka('the hand-off over Kafka', () => handOffs(kafka));
