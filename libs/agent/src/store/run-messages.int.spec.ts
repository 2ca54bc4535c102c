import type { AgentStepEvent, DeadLetterEvent, JournalEntry } from '#libs/contracts';
import { Announcements } from '../handoff/announcements.js';
import type { Agent } from '../agent.js';
import {
  AGENT_ID,
  entryOf,
  finishOf,
  LEASE_MS,
  newTask,
  openStore,
  type Process,
  type Store,
} from '../agent.fixture.js';
import { results } from '../loop/journal.fixture.js';
import { INITIAL, replay } from '../loop/state.js';
import type { NewTask } from './acceptances.js';
import type { ClaimedTask } from './claimed-task.js';
import type { Finish } from './run.repository.js';

jest.setTimeout(60_000);

let store: Store;
let here: Process;
let elsewhere: Process;
beforeAll(async () => {
  store = await openStore();
  ({ here, elsewhere } = store);
});
afterAll(() => store.stop());

const announcementsOf = (brokers: string) =>
  new Announcements({ definition: { id: AGENT_ID }, config: { KAFKA_BROKERS: brokers } } as Agent, {
    wake: () => undefined,
  });
const quiet = announcementsOf('');
const REPLY = { replyTo: 'orchestrator' };
const STEPS = { ...REPLY, streamSteps: true };

async function claimed(more: Partial<NewTask> = {}): Promise<ClaimedTask> {
  const task = newTask(more);
  await here.tasks.accept(task);
  return (await here.runs.claim(task.id, LEASE_MS))!;
}

/** The first entry, with its step. */
function firstEntry(task: ClaimedTask) {
  const entry = entryOf(task.id, task.epoch, 1);
  return { ...entry, messages: quiet.appended(task, INITIAL, entry) };
}

function finishing(task: ClaimedTask, announcements: Announcements, more: Partial<Finish> = {}): Finish {
  const finish = { ...finishOf(task.id, task.epoch), ...more };
  const last = finish.entries.at(-1)!.body;
  if (last.kind !== 'finish') throw new Error('no finish');
  const body = {
    ...last,
    result: { ...last.result, status: finish.status, output: finish.output, error: finish.error },
    error_detail: finish.detail,
  };
  return { ...finish, messages: announcements.ended(task, INITIAL, finish.entries, body, true) };
}

async function messagesOf(task: { sessionId: string }) {
  const { rows } = await store.sql.query<{
    destination: string;
    kind: string;
    body: Record<string, unknown>;
  }>('select destination, kind, body from agents.messages where key = $1 order by seq', [task.sessionId]);
  return rows;
}
const kindsOf = async (task: { sessionId: string }) =>
  (await messagesOf(task)).map(({ destination, kind }) => [destination, kind]);

const RESULTS = 'agent.results.orchestrator';
const FAILED = { status: 'failed', output: null, error: 'internal', detail: 'Something went wrong' } as const;

describe('the end of a task', () => {
  it('leaves no token but the one with which its result is sent', async () => {
    const task = await claimed({ ...REPLY, subjectToken: 'jwt', scopes: ['tasks:read', 'tasks:write'] });
    expect(task).toMatchObject({ token: 'jwt', scopes: ['tasks:read', 'tasks:write'] });
    await here.runs.finish(finishing(task, announcementsOf('broker:9092')));
    const left = await store.sql.query('select subject_token from agents.tasks where id = $1', [task.id]);
    expect(left.rows).toEqual([{ subject_token: null }]);
    const sent = await store.sql.query(
      'select destination, subject_token, scopes from agents.messages where key = $1 order by seq',
      [task.sessionId],
    );
    expect(sent.rows).toEqual([
      { destination: RESULTS, subject_token: 'jwt', scopes: 'tasks:read tasks:write' },
      { destination: 'agent.events', subject_token: null, scopes: 'tasks:read tasks:write' },
    ]);
  });

  it('sends its result to the reply address, in the same commit', async () => {
    const task = await claimed(REPLY);
    expect(await here.runs.finish(finishing(task, quiet))).toMatchObject({ fenced: false });
    expect(await messagesOf(task)).toEqual([
      {
        destination: RESULTS,
        kind: 'AgentResultEvent',
        body: expect.objectContaining({
          task_id: task.id,
          source_agent: AGENT_ID,
          session_id: task.sessionId,
          status: 'completed',
          output: 'done',
          error: null,
          error_detail: null,
          created_at: expect.any(Number),
        }),
      },
    ]);
  });

  it('sends nothing when nobody asked for it', async () => {
    const task = await claimed();
    await here.runs.finish(finishing(task, quiet));
    expect(await messagesOf(task)).toEqual([]);
  });

  it('repeated because its answer was lost sends nothing again', async () => {
    const task = await claimed(REPLY);
    const finish = finishing(task, quiet);
    await here.runs.finish(finish);
    expect(await here.runs.finish(finish)).toMatchObject({ fenced: false });
    expect(await kindsOf(task)).toEqual([[RESULTS, 'AgentResultEvent']]);
  });

  it('P2: written by a zombie sends nothing; its successor sends once', async () => {
    const zombie = await claimed(STEPS);
    await store.expire(zombie.id);
    const successor = (await elsewhere.runs.claim(zombie.id, LEASE_MS))!;
    expect(await here.runs.append(firstEntry(zombie))).toEqual({ fenced: true });
    expect(await here.runs.finish(finishing(zombie, quiet))).toEqual({ fenced: true });
    expect(await messagesOf(zombie)).toEqual([]);
    await elsewhere.runs.finish(finishing(successor, quiet));
    expect(await kindsOf(zombie)).toEqual([
      [RESULTS, 'AgentStepEvent'],
      [RESULTS, 'AgentStepEvent'],
      [RESULTS, 'AgentResultEvent'],
    ]);
  });

  it('control: under its own lease the very same write does send', async () => {
    const task = await claimed(STEPS);
    await here.runs.finish(finishing(task, quiet));
    expect(await kindsOf(task)).toHaveLength(3);
  });

  it('shares a batch with fenced and bad ones without harm to either', async () => {
    const [good, zombie, bad] = [await claimed(REPLY), await claimed(REPLY), await claimed(REPLY)] as const;
    await store.expire(zombie.id);
    await elsewhere.runs.claim(zombie.id, LEASE_MS);
    const ends = await Promise.allSettled([
      here.runs.finish(finishing(good, quiet)),
      here.runs.finish(finishing(zombie, quiet)),
      here.runs.finish(finishing(bad, quiet, { output: 'a NUL: \u0000' })),
    ]);
    expect(ends).toEqual([
      { status: 'fulfilled', value: expect.objectContaining({ fenced: false }) },
      { status: 'fulfilled', value: { fenced: true } },
      { status: 'rejected', reason: expect.any(Error) },
    ]);
    const sent = await Promise.all([good, zombie, bad].map(kindsOf));
    expect(sent.map(({ length }) => length)).toEqual([1, 0, 0]);
  });

  it('of a task that nobody holds sends as well', async () => {
    const task = newTask(REPLY);
    await here.tasks.accept(task);
    const unheld = (await here.runs.unheld(task.id))!;
    expect(unheld).toMatchObject({ id: task.id, epoch: 0, replyTo: 'orchestrator', metadata: {} });
    const finish = finishing({ ...unheld } as unknown as ClaimedTask, quiet, { status: 'cancelled' });
    expect(await here.runs.finishUnheld(finish)).toMatchObject({ fenced: false });
    expect(await here.runs.finishUnheld(finish)).toEqual({ fenced: true });
    expect(await kindsOf(task)).toEqual([[RESULTS, 'AgentResultEvent']]);
  });
});

describe('P7: a task that fails', () => {
  it('leaves a dead letter with its cause and the request, in the same commit', async () => {
    const task = await claimed({ metadata: { a: 'b' }, retryCount: 1, maxSteps: 3 });
    await here.runs.finish(finishing(task, quiet, FAILED));
    const [message, ...others] = await messagesOf(task);
    expect(others).toEqual([]);
    expect(message).toMatchObject({
      destination: 'agent.dead-letters',
      kind: 'DeadLetterEvent',
      body: {
        reason: 'task-failed',
        last_error: 'internal: Something went wrong',
        retry_count: 1,
        auto_retry_eligible: true,
        reported_by: AGENT_ID,
        task_id: task.id,
        session_id: task.sessionId,
      },
    });
    const { task_json: json } = message!.body as unknown as DeadLetterEvent;
    expect(JSON.parse(json!)).toMatchObject({
      task_id: task.id,
      target_agent: AGENT_ID,
      session_id: task.sessionId,
      prompt: task.prompt,
      context: { a: 'b' },
      max_steps: 3,
      token_budget: 8192,
      retry_count: 1,
      last_error: 'internal: Something went wrong',
    });
  });

  it('of 300 none is dropped and none doubled', async () => {
    const tasks = await Promise.all(Array.from({ length: 300 }, () => claimed()));
    await Promise.all(tasks.map((task) => here.runs.finish(finishing(task, quiet, FAILED))));
    const { rows } = await store.sql.query(
      `select count(*)::int as n, count(distinct body->>'task_id')::int as tasks from agents.messages
       where destination = 'agent.dead-letters' and body->>'task_id' = any($1)`,
      [tasks.map(({ id }) => id)],
    );
    expect(rows).toEqual([{ n: 300, tasks: 300 }]);
  });
});

describe('steps', () => {
  it('carry the entry exactly as a watcher gets it, in the order of the journal', async () => {
    const task = await claimed(STEPS);
    const first = firstEntry(task);
    await here.runs.append(first);
    const finish = finishOf(task.id, task.epoch, 2);
    const body = finish.entries[1]!.body;
    if (body.kind !== 'finish') throw new Error('no finish');
    const messages = quiet.ended(
      task,
      replay([first.body, results(first.body)]),
      finish.entries,
      body,
      false,
    );
    await here.runs.finish({ ...finish, messages });
    const sent = await messagesOf(task);
    expect(sent.map(({ kind }) => kind)).toEqual([
      'AgentStepEvent',
      'AgentStepEvent',
      'AgentStepEvent',
      'AgentResultEvent',
    ]);
    const steps = sent.slice(0, 3).map(({ body: step }) => step as unknown as AgentStepEvent);
    expect(steps.map(({ sequence, step_number: step, type }) => [sequence, step, type])).toEqual([
      [1, 1, 'llm_call'],
      [2, 2, 'llm_call'],
      [3, 2, 'finish'],
    ]);
    const entries: JournalEntry[] = await here.runs.entries(task.id);
    expect(steps.map(({ entry_json: json }) => json)).toEqual(entries.map((entry) => JSON.stringify(entry)));
    expect(steps.map(({ created_at: at }) => at)).toEqual(entries.map(({ at }) => Date.parse(at)));
  });

  it('of an entry that is written again are sent once', async () => {
    const task = await claimed(STEPS);
    await here.runs.append(firstEntry(task));
    expect(await here.runs.append(firstEntry(task))).toMatchObject({ fenced: false });
    expect(await kindsOf(task)).toHaveLength(1);
  });
});

describe('events for the world', () => {
  it('are sent where Kafka carries them, without prompt and answer', async () => {
    const task = await claimed();
    await here.runs.finish(finishing(task, announcementsOf('broker:9092')));
    const [event] = await messagesOf(task);
    expect(event).toMatchObject({
      destination: 'agent.events',
      kind: 'AgentEvent',
      body: { type: 'task.completed', agent_id: AGENT_ID, tenant: 'acme', tokens_used: 100 },
    });
    expect(JSON.stringify(event)).not.toMatch(/done|What is up/);
  });
});
