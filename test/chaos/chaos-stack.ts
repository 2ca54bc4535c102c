import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import pg from 'pg';
import type { Env } from '#libs/chassis';
import type { InvokeResponse, ToolOutcome } from '#libs/contracts';
import type { SpawnedService } from '#libs/devstack';
import { eventually, TestStack, type ScenarioStep, type TaskApi } from '#libs/testing';
import { ended, faultsOf, historyOf, type History } from './history.js';

/** Leases so short that a takeover takes about two seconds. Whatever a test does not wait for must not depend on them. */
export const SHORT_LEASES: Env = { LEASE_MS: '1500', RECONCILE_MS: '200', LOST_AFTER_MS: '1000' };
/** For a process that must not lose its tasks however slow the machine is. */
export const LONG_LEASE: Env = { LEASE_MS: '600000' };
/** Of `agent-test`. */
const QUEUE_NAME = 'agent.run.test';
/** The prefix of its every key. */
const QUEUE = `bull:${QUEUE_NAME}`;

/** One test file's stack: agents with armed failpoints that die, and a standby that takes over. */
export class ChaosStack {
  private readonly victims: SpawnedService[] = [];

  private constructor(
    readonly stack: TestStack,
    /** Direct SQL is for taking a mechanism away and for evidence, never for the verdict. */
    readonly postgres: pg.Pool,
    readonly redis: Redis,
  ) {}

  static async start(env: Env = {}): Promise<ChaosStack> {
    const stack = await TestStack.start(env);
    const { databaseUrl, redisUrl } = stack.infrastructure;
    const postgres = new pg.Pool({ connectionString: databaseUrl, max: 2 });
    postgres.on('error', () => undefined);
    const redis = new Redis(redisUrl, { maxRetriesPerRequest: null, lazyConnect: true });
    redis.on('error', () => undefined);
    return new ChaosStack(stack, postgres, redis);
  }

  async stop(): Promise<void> {
    this.redis.disconnect();
    await this.postgres.end();
    await this.killVictims();
    await this.stack.stop();
  }

  /** For tests that need the tables before their first agent. */
  async makeTables(): Promise<void> {
    await this.victim('');
    await this.clean();
  }

  /** The agents' queue, for jobs of the test's own. */
  openQueue(): Queue {
    return new Queue(QUEUE_NAME, { connection: { url: this.stack.infrastructure.redisUrl } });
  }

  /** An agent process with `failpoints` armed (`name=action[:ms][@nth]`); short leases unless `env` says otherwise. */
  async victim(failpoints: string, env: Env = {}): Promise<SpawnedService> {
    const victim = await this.stack.spawnAgent({
      ...SHORT_LEASES,
      ...(failpoints === '' ? {} : { BATON_FAILPOINTS: failpoints }),
      ...env,
    });
    this.victims.push(victim);
    return victim;
  }

  /** Resolves when they are gone: a process that is still dying could take a task of the next test. */
  async killVictims(): Promise<void> {
    const victims = this.victims.splice(0);
    for (const victim of victims) victim.kill('SIGKILL');
    await Promise.all(victims.map(({ exited }) => exited));
  }

  /**
   * Kills the victims and forgets every task and job. What one test leaves behind, a task at its tool or a job without a worker,
   * is dispatched again in the next one and springs its failpoints. Only where no agent outlives the test.
   */
  async clean(): Promise<void> {
    await this.killVictims();
    await this.sql('truncate agents.tasks, agents.journal, agents.outbox');
    await this.redis.flushall();
  }

  api(agent: SpawnedService): TaskApi {
    return this.stack.api(agent);
  }

  /** Teaches the model a script and returns a prompt that follows it. */
  async script(name: string, steps: ScenarioStep[]): Promise<string> {
    return `Do it. ${await this.stack.scenario({ name, steps })}`;
  }

  /** Submits to an agent that may be dead or stopped before its 202 is out; the task's session is `name`. */
  async submitted(agent: SpawnedService, name: string, prompt: string): Promise<string> {
    void this.api(agent)
      .submit({ prompt, session_id: name })
      .catch(() => undefined);
    return eventually(
      async () => {
        const { rows } = await this.sql('select id from agents.tasks where session_id = $1', [name]);
        return (rows[0] as { id: string } | undefined)?.id ?? '';
      },
      Boolean,
      { what: `task ${name} in the database` },
    );
  }

  /** Requests of each step that the model got. */
  async asked(name: string): Promise<Record<string, number>> {
    return (await this.stack.scenarioCounts(name)).by_step;
  }

  sql(text: string, values: unknown[] = []): Promise<pg.QueryResult> {
    return this.postgres.query(text, values);
  }

  /** The public history of an ended task, and the effects whose text begins with `effects`. */
  async outcome(api: TaskApi, taskId: string, effects: string, timeoutMs?: number): Promise<History> {
    await ended(api, taskId, timeoutMs);
    return this.history(api, taskId, effects);
  }

  history(api: TaskApi, taskId: string, effects: string): Promise<History> {
    return historyOf(
      api,
      taskId,
      this.stack.tools.effects.filter(({ text }) => text.startsWith(effects)),
    );
  }

  /** Calls a tool at the registry as the agent does, under any key. */
  async invokeTool(name: string, args: Record<string, unknown>, key: string): Promise<ToolOutcome> {
    const token = this.stack.token({}, { aud: 'tool-registry', act: { sub: 'agent-test' } });
    const response = await fetch(`${this.stack.registry.url}/tools/${name}/invoke`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'idempotency-key': key,
      },
      body: JSON.stringify({ arguments: args }),
    });
    if (!response.ok) throw new Error(`tool registry: ${response.status} ${await response.text()}`);
    return ((await response.json()) as InvokeResponse).outcome;
  }

  /** What the queue's own event stream says of the jobs of a task, in order: `added`, `duplicated`, `active`, `failed`, … */
  async queueEvents(taskId: string): Promise<string[]> {
    const events = await this.redis.xrange(`${QUEUE}:events`, '-', '+');
    const valueOf = (fields: string[], name: string) => fields[fields.indexOf(name) + 1]!;
    return events
      .filter(([, fields]) => valueOf(fields, 'jobId').startsWith(taskId))
      .map(([, fields]) => valueOf(fields, 'event'));
  }

  /** Jobs that wait for a worker. */
  waitingJobs(): Promise<string[]> {
    return this.redis.lrange(`${QUEUE}:wait`, 0, -1);
  }

  /** Keys of everything that Redis holds of the jobs of a task. */
  keysOf(taskId: string): Promise<string[]> {
    return this.redis.keys(`${QUEUE}:${taskId}-*`);
  }

  async dispatchNo(taskId: string): Promise<number> {
    const { rows } = await this.sql('select dispatch_no from agents.tasks where id = $1', [taskId]);
    return (rows[0] as { dispatch_no: number }).dispatch_no;
  }

  /** What has to be told to the queue. */
  async outbox(): Promise<Array<{ task_id: string; dispatch_no: number }>> {
    return (await this.sql('select task_id, dispatch_no from agents.outbox')).rows;
  }

  /** Lets the lease of a dead worker run out now. */
  async leaseRunsOut(taskId: string): Promise<void> {
    await this.sql(
      `update agents.tasks set lease_until = now(), dispatched_at = now() - interval '1 day' where id = $1`,
      [taskId],
    );
  }

  /**
   * Resolves when the only living agent's reconciler has made a whole round since the call, however long that takes: the relay is
   * one of its steps, so all steps lie between two rows of the outbox (of no task) that were put there one after the other.
   */
  async reconcilerRound(): Promise<void> {
    for (let passed = 0; passed < 2; passed += 1) {
      const mark = randomUUID();
      await this.sql(
        `insert into agents.outbox (task_id, dispatch_no, agent_id, due_at) values ($1, 1, 'agent-test', now())`,
        [mark],
      );
      await eventually(async () => (await this.outbox()).every(({ task_id }) => task_id !== mark), Boolean, {
        what: 'a round of the reconciler',
      });
    }
  }

  /**
   * What the checker says of a task that nothing can find any more: after a whole round of the reconciler. A task that was found
   * is not `not ended` alone, also when nobody has begun it yet.
   */
  async faultsWhenLost(api: TaskApi, taskId: string, answer: string, effects: string): Promise<string[]> {
    await this.reconcilerRound();
    const faults = faultsOf(await this.history(api, taskId, effects), answer);
    const dispatches = await this.dispatchNo(taskId);
    if (dispatches > 1) faults.push(`dispatched ${dispatches} times`);
    const queued = [...(await this.waitingJobs()), ...(await this.redis.lrange(`${QUEUE}:active`, 0, -1))];
    if (queued.some((job) => job.startsWith(taskId))) faults.push('has a job');
    return faults;
  }
}

/** Waits until the process was ended by `signal`. */
export async function diedOf(victim: SpawnedService, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  const timeout = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new Error(`the victim lives: ${victim.output().slice(-2000)}`)), 60_000).unref(),
  );
  expect(await Promise.race([victim.exited, timeout])).toBe(signal);
}

/** Waits until the process has been stopped by SIGSTOP. */
export async function stopped(victim: SpawnedService): Promise<void> {
  await eventually(() => isStopped(victim), Boolean, { what: 'a stopped victim' });
}

/** The state `T` of ps, which Linux and macOS share. */
function isStopped({ pid }: SpawnedService): boolean {
  return execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('T');
}
