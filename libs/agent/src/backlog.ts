import { Inject, Injectable } from '@nestjs/common';
import { RetryableError } from '#libs/contracts';
import { AGENT, type Agent } from './agent.js';
import { TaskRepository } from './store/task.repository.js';

const REFRESH_MS = 500;
/** Of the time, at most so much is spent on counting. */
const COUNTING_SHARE = 0.05;
const RETRY_AFTER_SECONDS = 5;

/**
 * Refuses what would wait too long: at most `MAX_BACKLOG` waiting tasks per agent and tenant. Counted in Postgres at most twice a
 * second, more rarely where counting takes long, and by this process in between, acceptances under way included, so only several instances together may exceed it, by what they
 * accept in half a second.
 */
@Injectable()
export class Backlog {
  private waiting = new Map<string, number>();
  private readonly underWay = new Map<string, number>();
  private countAgainAt = 0;
  private counting?: Promise<void>;

  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(TaskRepository) private readonly tasks: TaskRepository,
  ) {}

  /**
   * Lets one acceptance begin. To be told when it is over: `created` when there is one more waiting task.
   * @throws RetryableError `backlog-full` (429) with RateLimit headers
   */
  async admit(tenant: string): Promise<(created: boolean) => void> {
    if (performance.now() > this.countAgainAt) await (this.counting ??= this.count());
    const limit = this.agent.config.MAX_BACKLOG;
    const underWay = this.underWay.get(tenant) ?? 0;
    if ((this.waiting.get(tenant) ?? 0) + underWay < limit) {
      this.underWay.set(tenant, underWay + 1);
      return (created) => this.settle(tenant, created);
    }
    throw new RetryableError('backlog-full', `${limit} tasks are waiting already; try again later`, {
      status: 429,
      retryAfterMs: RETRY_AFTER_SECONDS * 1000,
      headers: {
        'ratelimit-policy': `"backlog";q=${limit}`,
        ratelimit: `"backlog";r=0;t=${RETRY_AFTER_SECONDS}`,
      },
    });
  }

  private settle(tenant: string, created: boolean): void {
    const left = this.underWay.get(tenant)! - 1;
    if (left > 0) this.underWay.set(tenant, left);
    else this.underWay.delete(tenant);
    if (created) this.waiting.set(tenant, (this.waiting.get(tenant) ?? 0) + 1);
  }

  private async count(): Promise<void> {
    const began = performance.now();
    try {
      this.waiting = await this.tasks.backlog(this.agent.definition.id);
      const ended = performance.now();
      this.countAgainAt = ended + Math.max(REFRESH_MS, (ended - began) / COUNTING_SHARE);
    } finally {
      this.counting = undefined;
    }
  }
}
