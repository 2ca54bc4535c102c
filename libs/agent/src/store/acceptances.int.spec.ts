import { randomUUID } from 'node:crypto';
import type { MessageSubject } from '#libs/messaging';
import { AGENT_ID, newTask, openStore, type Process, type Store } from '../agent.fixture.js';
import type { InboxEntry, NewTask } from './acceptances.js';

jest.setTimeout(60_000);

let store: Store;
let here: Process;
let elsewhere: Process;
beforeAll(async () => {
  store = await openStore();
  ({ here, elsewhere } = store);
});
afterAll(() => store.stop());

const count = async (table: string, where: string, ...values: unknown[]) => {
  const { rows } = await store.sql.query<{ n: number }>(
    `select count(*)::int as n from ${table} where ${where}`,
    values,
  );
  return rows[0]!.n;
};
const entry = (id: string = randomUUID()): InboxEntry => ({ consumer: AGENT_ID, id });
const ownTask = (more: Partial<NewTask> = {}) => newTask({ id: randomUUID(), ...more });
const subject: MessageSubject = { tenant: 'acme', userId: 'ada', scopes: ['a', 'b'], token: 'jwt' };
const accepted = (task: NewTask) =>
  ({
    source: AGENT_ID,
    destination: 'agent.events',
    key: task.sessionId,
    kind: 'AgentEvent',
    body: { type: 'task.accepted', task_id: task.id } as never,
    subject,
    traceparent: null,
  }) as const;

describe("a caller's own task id", () => {
  it('is one task, however often and from wherever it comes', async () => {
    const task = ownTask();
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, i) => (i % 2 ? here : elsewhere).tasks.accept({ ...task })),
    );
    expect(answers.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(answers.map(({ id }) => id))).toEqual(new Set([task.id]));
    expect(await count('agents.outbox', 'task_id = $1', task.id)).toBe(1);
  });

  it('names the task of whoever has it, so that another tenant or request is told apart', async () => {
    const task = ownTask();
    const [mine, theirs, other] = await Promise.all([
      here.tasks.accept(task),
      here.tasks.accept({ ...task, tenant: 'other', requestHash: 'theirs' }),
      here.tasks.accept({ ...task, requestHash: 'another' }),
    ]);
    expect(mine).toEqual({
      id: task.id,
      tenant: 'acme',
      requestHash: 'hash',
      status: 'pending',
      created: true,
    });
    expect(theirs).toEqual({ ...mine, created: false });
    expect(other).toEqual({ ...mine, created: false });
    expect(await count('agents.tasks', 'id = $1', task.id)).toBe(1);
  });

  it('beside an idempotency key: the id decides, and a key that has another task names that', async () => {
    const first = ownTask({ idempotencyKey: 'both' });
    await here.tasks.accept(first);
    expect(await here.tasks.accept({ ...first, idempotencyKey: 'new key' })).toMatchObject({
      id: first.id,
      created: false,
    });
    const second = ownTask({ idempotencyKey: 'both' });
    expect(await here.tasks.accept(second)).toMatchObject({ id: first.id, created: false });
    expect(await count('agents.tasks', 'id = $1', second.id)).toBe(0);
  });
});

describe('P8: a message', () => {
  it('enters the inbox with its task', async () => {
    const task = ownTask();
    const message = entry();
    expect(await here.tasks.acceptMessage(task, message)).toMatchObject({ id: task.id, created: true });
    expect(await count('agents.inbox', 'consumer = $1 and message_id = $2', AGENT_ID, message.id)).toBe(1);
  });

  it('twice in one batch and again in later ones is one task', async () => {
    const task = ownTask();
    const message = entry();
    const deliver = (process: Process) => process.tasks.acceptMessage({ ...task }, message);
    const first = await Promise.all([deliver(here), deliver(here), deliver(here)]);
    const again = [await deliver(elsewhere), await deliver(here)];
    expect([...first, ...again].map((answer) => [answer?.id, answer?.created])).toEqual([
      [task.id, true],
      ...Array.from({ length: 4 }, () => [task.id, false]),
    ]);
    expect(await count('agents.outbox', 'task_id = $1', task.id)).toBe(1);
  });

  it('delivered to two consumers of a group at once is one task', async () => {
    const deliveries = Array.from({ length: 50 }, () => ({ task: ownTask(), message: entry() }));
    const answers = await Promise.all(
      [here, elsewhere].flatMap((process) =>
        deliveries.map(({ task, message }) => process.tasks.acceptMessage({ ...task }, message)),
      ),
    );
    expect(answers.filter((answer) => answer?.created)).toHaveLength(50);
  });

  it('that was seen before creates nothing, also when its task is gone or it names another now', async () => {
    const message = entry();
    await store.sql.query('insert into agents.inbox (consumer, message_id) values ($1, $2)', [
      AGENT_ID,
      message.id,
    ]);
    const [seen, fresh] = [ownTask(), ownTask()];
    const answers = await Promise.all([
      here.tasks.acceptMessage(seen, message),
      here.tasks.acceptMessage(fresh, entry()),
    ]);
    expect(answers).toEqual([null, expect.objectContaining({ id: fresh.id, created: true })]);
    expect(await count('agents.tasks', 'id = $1', seen.id)).toBe(0);
  });

  it('control: without the inbox row the same message is accepted', async () => {
    const task = ownTask();
    const message = entry();
    await here.tasks.acceptMessage(task, message);
    await store.sql.query('delete from agents.outbox where task_id = $1', [task.id]);
    await store.sql.query('delete from agents.tasks where id = $1', [task.id]);
    expect(await here.tasks.acceptMessage(task, message)).toBeNull();
    await store.sql.query('delete from agents.inbox where message_id = $1', [message.id]);
    expect(await here.tasks.acceptMessage(task, message)).toMatchObject({ created: true });
  });

  it('for a known id with another request leaves no inbox row: that comes with its dead letter', async () => {
    const task = ownTask();
    await here.tasks.accept(task);
    const message = entry();
    expect(await here.tasks.acceptMessage({ ...task, requestHash: 'another' }, message)).toMatchObject({
      created: false,
      requestHash: 'hash',
    });
    expect(await count('agents.inbox', 'message_id = $1', message.id)).toBe(0);
  });

  it('that names an ended task again is answered once, and not beside an answer that is still to be sent', async () => {
    const task = ownTask();
    const [first, again, other] = [entry(), entry(), entry()];
    await here.tasks.acceptMessage(task, first);
    const answer = { ...accepted(task), id: randomUUID(), destination: 'agent.results.tests' };
    const answered = () => count('agents.messages', 'id = $1', answer.id);
    await here.tasks.answerAgain(first, task.id, [answer]);
    expect(await answered()).toBe(0);
    await here.tasks.answerAgain(again, task.id, [answer]);
    await here.tasks.answerAgain(other, task.id, [answer]);
    expect(await answered()).toBe(1);
    await store.sql.query('delete from agents.messages where id = $1', [answer.id]);
    await elsewhere.tasks.answerAgain(again, task.id, [answer]);
    expect(await answered()).toBe(0);
    await elsewhere.tasks.answerAgain(entry(), task.id, [answer]);
    expect(await answered()).toBe(1);
  });

  it('that Postgres cannot store harms nothing else of its batch', async () => {
    const [good, bad] = [ownTask(), ownTask({ prompt: 'a NUL: \u0000' })];
    const answers = await Promise.allSettled([
      here.tasks.acceptMessage(good, entry()),
      here.tasks.acceptMessage(bad, entry()),
      here.tasks.accept(newTask()),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await count('agents.inbox', 'true')).toBe(await count('agents.inbox', 'message_id is not null'));
    expect(await count('agents.tasks', 'id = any($1)', [good.id, bad.id])).toBe(1);
  });
});

describe('messages of an acceptance', () => {
  it('stand or fall with it, and are sent once', async () => {
    const task = ownTask();
    const withEvent = { ...task, messages: [accepted(task)] };
    await Promise.all([here.tasks.accept(withEvent), here.tasks.accept(withEvent)]);
    await elsewhere.tasks.accept(withEvent);
    const { rows } = await store.sql.query(
      `select source, destination, key, kind, body, tenant, user_id, subject_token, scopes, traceparent from agents.messages where key = $1`,
      [task.sessionId],
    );
    expect(rows).toEqual([
      {
        source: AGENT_ID,
        destination: 'agent.events',
        key: task.sessionId,
        kind: 'AgentEvent',
        body: { type: 'task.accepted', task_id: task.id },
        tenant: 'acme',
        user_id: 'ada',
        subject_token: 'jwt',
        scopes: 'a b',
        traceparent: null,
      },
    ]);
  });
});
