import { execFileSync } from 'node:child_process';
import { Redis } from 'ioredis';
import pg from 'pg';
import type { Env } from '#libs/chassis';
import type { InvokeResponse, ToolOutcome } from '#libs/contracts';
import type { SpawnedService } from '#libs/devstack';
import { eventually, TestStack, type ScenarioStep, type TaskApi } from '#libs/testing';
import { ended, faultsOf, historyOf, type History } from './history.js';

/** Leases so short that a takeover takes about two seconds. Whatever a test does not wait for must not depend on them. */
export const SHORT_LEASES: Env = { LEASE_MS: '1500', RECONCILE_MS: '200', LOST_AFTER_MS: '1000' };
/** Time in which a working takeover is long done: for showing that without its mechanism there is none. */
const QUIET_MS = 4000;

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
    this.killVictims();
    await this.stack.stop();
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

  killVictims(): void {
    for (const victim of this.victims.splice(0)) victim.kill('SIGKILL');
  }

  api(agent: SpawnedService): TaskApi {
    return this.stack.api(agent);
  }

  /** Teaches the model a script and returns a prompt that follows it. */
  async script(name: string, steps: ScenarioStep[]): Promise<string> {
    return `Do it. ${await this.stack.scenario({ name, steps })}`;
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

  /** What the checker says after a time in which a working takeover is long done. */
  async faultsWhenQuiet(api: TaskApi, taskId: string, answer: string, effects: string): Promise<string[]> {
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    return faultsOf(await this.history(api, taskId, effects), answer);
  }
}

/** Waits until the process was ended by `signal`. */
export async function diedOf(victim: SpawnedService, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  const timeout = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new Error(`the victim lives: ${victim.output().slice(-2000)}`)), 30_000).unref(),
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
