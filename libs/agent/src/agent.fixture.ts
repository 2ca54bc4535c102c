import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { startService, type RunningService } from '#libs/chassis';
import { DatabaseModule } from '#libs/database';
import { Channels, MessagingModule } from '#libs/messaging';
import { AGENT } from './agent.js';
import { TaskFeed } from './feed.js';
import { call, reply } from './loop/journal.fixture.js';
import { DispatchRepository } from './store/dispatch.repository.js';
import { MIGRATIONS } from './store/migrations.js';
import { RunRepository, type Finish } from './store/run.repository.js';
import type { NewTask } from './store/acceptances.js';
import { TaskRepository } from './store/task.repository.js';

export const AGENT_ID = 'agent-x';
/** Longer than any test: leases run out when a test says so. */
export const LEASE_MS = 300_000;
const SCOPE = { agentId: AGENT_ID, tenant: 'acme', userId: 'ada' };

/** The repositories of one process. */
export interface Process {
  tasks: TaskRepository;
  runs: RunRepository;
  dispatches: DispatchRepository;
  feed: TaskFeed;
  channels: Channels;
}

/** A database of its own, seen by two processes that share nothing else. */
export interface Store {
  here: Process;
  elsewhere: Process;
  sql: Pool;
  scope: typeof SCOPE;
  databaseUrl: string;
  redisUrl: string;
  /** Lets the lease of a task run out. */
  expire(taskId: string): Promise<void>;
  stop(): Promise<void>;
}

export async function openStore(): Promise<Store> {
  const serverUrl = testUrl('TEST_DATABASE_URL');
  const redisUrl = testUrl('TEST_REDIS_URL');
  const name = `agents_${randomBytes(6).toString('hex')}`;
  const server = new Pool({ connectionString: serverUrl, max: 1 });
  await server.query(`create database ${name}`);
  const databaseUrl = new URL(name, serverUrl).href;
  const sql = new Pool({ connectionString: databaseUrl, max: 4 });
  // Dropping the database ends connections that are closing anyway.
  sql.on('error', () => undefined);
  const services: RunningService[] = [];
  const open = async (): Promise<Process> => {
    const service = await startProcess(databaseUrl, redisUrl);
    services.push(service);
    const get = <T>(type: new (...args: never[]) => T) => service.app.get<T>(type);
    return {
      tasks: get(TaskRepository),
      runs: get(RunRepository),
      dispatches: get(DispatchRepository),
      feed: get(TaskFeed),
      channels: get(Channels),
    };
  };
  return {
    here: await open(),
    elsewhere: await open(),
    sql,
    scope: SCOPE,
    databaseUrl,
    redisUrl,
    expire: async (id) => {
      await sql.query(`update agents.tasks set lease_until = now() - interval '1 ms' where id = $1`, [id]);
    },
    stop: async () => {
      for (const service of services) await service.stop();
      await sql.end();
      await server.query(`drop database ${name} with (force)`);
      await server.end();
    },
  };
}

function startProcess(url: string, redisUrl: string): Promise<RunningService> {
  return startService(
    () => ({
      name: 'store',
      description: 'Repositories under test',
      imports: [
        DatabaseModule.forRoot({ url, schema: 'agents', migrations: MIGRATIONS, poolMax: 4 }),
        MessagingModule.forRoot(redisUrl),
      ],
      providers: [
        { provide: AGENT, useValue: { definition: { id: AGENT_ID } } },
        TaskRepository,
        RunRepository,
        DispatchRepository,
        TaskFeed,
      ],
    }),
    { PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: 'silent' },
  );
}

function testUrl(variable: string): string {
  const url = process.env[variable];
  if (!url) throw new Error(`${variable} is not set`);
  return url;
}

/** A task as an acceptance writes it; by default in a session of its own. */
export function newTask(more: Partial<NewTask> = {}): NewTask {
  const id = randomUUID();
  return {
    ...SCOPE,
    id,
    ownId: more.id !== undefined,
    sessionId: more.sessionId ?? more.id ?? id,
    ownSession: more.sessionId === undefined,
    scopes: ['tasks:write'],
    subjectToken: null,
    prompt: 'What is up?',
    metadata: {},
    maxSteps: 10,
    tokenBudget: 8192,
    idempotencyKey: null,
    requestHash: 'hash',
    traceparent: null,
    timeoutMs: 60_000,
    replyTo: null,
    streamSteps: false,
    retryCount: 0,
    ...more,
  };
}

/** A final write of an answer as entry `seq`. */
export function finishOf(taskId: string, epoch: number, seq = 1): Finish {
  const result = {
    task_id: taskId,
    status: 'completed' as const,
    output: 'done',
    error: null,
    steps_used: 1,
    tokens_used: 100,
    tool_calls: 0,
    duration_ms: 5,
  };
  return {
    taskId,
    epoch,
    entries: [
      { seq, body: reply({ content: 'done' }) },
      { seq: seq + 1, body: { kind: 'finish', result, error_detail: null } },
    ],
    status: 'completed',
    output: 'done',
    error: null,
    detail: null,
    stepsUsed: 1,
    tokensUsed: 100,
    toolCalls: 0,
    durationMs: 5,
  };
}

export const entryOf = (taskId: string, epoch: number, seq: number) => ({
  taskId,
  epoch,
  seq,
  body: reply({ content: `entry ${seq}`, tool_calls: [call()] }),
});

/** The first answer of `probe` that is not empty. @throws Error after 30 s */
export async function eventually<T>(probe: () => Promise<T> | T): Promise<NonNullable<T>> {
  for (let i = 0; i < 1200; i += 1) {
    const value = await probe();
    if (value) return value;
    await sleep(25);
  }
  throw new Error('it did not happen within 30 s');
}
