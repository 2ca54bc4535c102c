import { Inject, Injectable } from '@nestjs/common';
import { AGENT, type Agent } from './agent.js';

/**
 * Tasks that begin in the process that accepted them, without a way through the queue: up to `LOCAL_RUNS` at a time, what is more goes
 * to the queue and any worker. Only a shortcut: the outbox row stays until the claim, and the claim decides who runs a task.
 */
@Injectable()
export class LocalRuns {
  private readonly running = new Set<Promise<void>>();
  private begin: ((taskId: string) => Promise<void>) | null = null;

  constructor(@Inject(AGENT) private readonly agent: Agent) {}

  /** @param begin claims a task and runs it to its end; it must not reject */
  open(begin: (taskId: string) => Promise<void>): void {
    this.begin = begin;
  }

  /** True when the task begins here; false when the queue has to be told. */
  offer(taskId: string): boolean {
    if (!this.begin || this.running.size >= this.agent.config.LOCAL_RUNS) return false;
    const run: Promise<void> = this.begin(taskId).finally(() => this.running.delete(run));
    this.running.add(run);
    return true;
  }

  /** No more tasks begin here. */
  close(): void {
    this.begin = null;
  }

  /** Resolves when the last one has ended. */
  async ended(): Promise<void> {
    await Promise.all(this.running);
  }
}
