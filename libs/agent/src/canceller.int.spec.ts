import type { Dispatch } from '#libs/messaging';
import {
  AGENT_ID,
  entryOf,
  eventually,
  finishOf,
  LEASE_MS,
  newTask,
  openStore,
  type Process,
  type Store,
} from './agent.fixture.js';
import type { Agent } from './agent.js';
import { Announcements } from './handoff/announcements.js';
import { Canceller } from './canceller.js';

jest.setTimeout(60_000);

let store: Store;
let here: Process;
/** The worker's process, and what reached its leases. */
let elsewhere: Process;
let canceller: Canceller;
let atWorker: Canceller;
const told: Dispatch[] = [];
const word: string[] = [];
let onWord: (taskId: string) => void = () => undefined;

const cancellerOf = ({ tasks, runs, feed, channels }: Process) => {
  const parts = {
    agent: { definition: { id: AGENT_ID } },
    tasks,
    runs,
    feed,
    announcements: new Announcements(
      { definition: { id: AGENT_ID }, config: { KAFKA_BROKERS: '' } } as Agent,
      { wake: () => undefined },
    ),
    channels,
    dispatcher: { begin: (dispatch: Dispatch) => void told.push(dispatch) },
    leases: {
      cancel: (taskId: string) => {
        word.push(taskId);
        onWord(taskId);
      },
    },
    metrics: { ended: () => undefined },
  };
  return new Canceller(...(Object.values(parts) as unknown as ConstructorParameters<typeof Canceller>));
};

beforeAll(async () => {
  store = await openStore();
  ({ here, elsewhere } = store);
  canceller = cancellerOf(here);
  atWorker = cancellerOf(elsewhere);
  await atWorker.onApplicationBootstrap();
});
afterAll(async () => {
  atWorker.onApplicationShutdown();
  await store.stop();
});
beforeEach(() => {
  onWord = () => undefined;
});

const accept = async (more: Parameters<typeof newTask>[0] = {}) => {
  const task = newTask(more);
  await here.tasks.accept(task);
  return task.id;
};
const journalOf = async (id: string) => (await here.runs.entries(id)).map(({ body }) => body);

describe('cancelling', () => {
  it('ends a waiting task at once, and no worker gets it any more', async () => {
    const id = await accept();
    expect(await canceller.cancel(id, store.scope)).toMatchObject({
      status: 'cancelled',
      error: 'cancelled',
    });
    expect(await elsewhere.runs.claim(id, LEASE_MS)).toBeNull();
    expect(await journalOf(id)).toMatchObject([
      { kind: 'finish', result: { status: 'cancelled', steps_used: 0 } },
    ]);
  });

  it('lets the next task of the session go on', async () => {
    const [first, second] = [await accept({ sessionId: 's' }), await accept({ sessionId: 's' })] as const;
    await canceller.cancel(first, store.scope);
    expect(told).toContainEqual({ taskId: second, dispatchNo: 2 });
    expect(await elsewhere.runs.claim(second, LEASE_MS)).toMatchObject({ id: second });
  });

  it('of a running task tells its worker and waits for it', async () => {
    const id = await accept();
    await elsewhere.runs.claim(id, LEASE_MS);
    onWord = (taskId) =>
      void elsewhere.runs
        .finish({ ...finishOf(taskId, 1), status: 'cancelled', error: 'cancelled' })
        .then(() =>
          elsewhere.feed.announce(taskId, {
            entry: { seq: 2, at: '', body: finishOf(taskId, 1).entries[1]!.body },
          }),
        );
    expect(await canceller.cancel(id, store.scope)).toMatchObject({ status: 'cancelled' });
    expect(word).toContain(id);
  });

  it('that its worker does not confirm says so, and stays requested', async () => {
    const id = await accept();
    await elsewhere.runs.claim(id, LEASE_MS);
    expect(await canceller.cancel(id, store.scope)).toMatchObject({
      status: 'running',
      cancel_requested: true,
    });
    expect(await elsewhere.runs.append(entryOf(id, 1, 1))).toMatchObject({ cancelRequested: true });
  });

  it('of a task whose worker is dead keeps what it reached, and fences that worker', async () => {
    const id = await accept();
    await elsewhere.runs.claim(id, LEASE_MS);
    await elsewhere.runs.append(entryOf(id, 1, 1));
    await store.expire(id);
    expect(await canceller.cancel(id, store.scope)).toMatchObject({
      status: 'cancelled',
      output: 'entry 1',
      steps_used: 1,
      tokens_used: 100,
    });
    expect(await elsewhere.runs.append(entryOf(id, 1, 2))).toEqual({ fenced: true });
    expect(await journalOf(id)).toMatchObject([{ kind: 'model' }, { kind: 'finish' }]);
  });

  it('by many at once ends it once', async () => {
    const id = await accept();
    const answers = await Promise.all(
      [canceller, atWorker, canceller, atWorker].map((by) => by.cancel(id, store.scope)),
    );
    expect(answers.map(({ status }) => status)).toEqual(['cancelled', 'cancelled', 'cancelled', 'cancelled']);
    expect(await journalOf(id)).toHaveLength(1);
  });

  it('races a claim without losing the task', async () => {
    const ids = await Promise.all(Array.from({ length: 30 }, () => accept()));
    onWord = (taskId) =>
      void elsewhere.runs
        .finish({ ...finishOf(taskId, 1), status: 'cancelled', error: 'cancelled' })
        .catch(() => undefined);
    await Promise.all(
      ids.map(async (id) => {
        const [view] = await Promise.all([
          canceller.cancel(id, store.scope),
          elsewhere.runs.claim(id, LEASE_MS),
        ]);
        expect(view.status).toBe('cancelled');
        const ends = (await journalOf(id)).filter(({ kind }) => kind === 'finish');
        expect(ends).toHaveLength(1);
      }),
    );
  });

  it('of an ended task is refused; again of a cancelled one is not', async () => {
    const done = await accept();
    await elsewhere.runs.claim(done, LEASE_MS);
    await elsewhere.runs.finish(finishOf(done, 1));
    await expect(canceller.cancel(done, store.scope)).rejects.toMatchObject({
      code: 'task-finished',
      status: 409,
    });
    const id = await accept();
    await canceller.cancel(id, store.scope);
    expect(await canceller.cancel(id, store.scope)).toMatchObject({ status: 'cancelled' });
  });

  it("of somebody else's task is refused as if it were not there, and does nothing", async () => {
    const id = await accept();
    for (const scope of [{ userId: 'eve' }, { tenant: 'other' }])
      await expect(canceller.cancel(id, { ...store.scope, ...scope })).rejects.toMatchObject({
        code: 'task-not-found',
        status: 404,
      });
    expect(await here.tasks.require(id, store.scope)).toMatchObject({
      status: 'pending',
      cancel_requested: false,
    });
    await eventually(() => elsewhere.runs.claim(id, LEASE_MS));
  });
});
