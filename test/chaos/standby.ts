import type { Env } from '#libs/chassis';
import type { SpawnedService } from '#libs/devstack';
import { answer, callTool, eventually, type TaskApi } from '#libs/testing';
import { SHORT_LEASES, type ChaosStack } from './chaos-stack.js';

/**
 * A healthy agent with one slot. While a task that waits for the test sits in it, every other job is left to the victim;
 * `takeOver` lets it go. So who gets a task is decided by the test, not by luck.
 */
export class Standby {
  private turn = 0;

  private constructor(
    private readonly chaos: ChaosStack,
    readonly agent: SpawnedService,
    readonly api: TaskApi,
  ) {}

  static async start(chaos: ChaosStack, env: Env = {}): Promise<Standby> {
    const agent = await chaos.stack.spawnAgent({
      ...SHORT_LEASES,
      WORKER_CONCURRENCY: '1',
      LOCAL_RUNS: '0',
      MODEL_TIMEOUT_MS: '3000',
      ...env,
    });
    return new Standby(chaos, agent, chaos.api(agent));
  }

  private get text(): string {
    return `busy-${this.turn}`;
  }

  /** No victim may be alive: it could take the task that is meant for the slot. */
  async occupy(): Promise<void> {
    this.turn += 1;
    const prompt = await this.chaos.script(this.text, [
      callTool('test_hold', { text: this.text }),
      answer('idle'),
    ]);
    await this.api.accepted({ prompt });
    await eventually(() => this.chaos.stack.tools.calls['test_hold']!.includes(this.text), Boolean, {
      what: 'the occupied standby',
    });
  }

  takeOver(): void {
    this.chaos.stack.tools.release(this.text);
  }
}
