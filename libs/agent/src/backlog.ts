import { Inject, Injectable } from '@nestjs/common';
import { RetryableError } from '#libs/contracts';
import { AGENT, type Agent } from './agent.js';
import { TaskRepository } from './store/task.repository.js';

const REFRESH_MS = 500;
/** Of the time, at most so much is spent on counting, unless the count is older than `LONGEST_MS`. */
const COUNTING_SHARE = 0.05;
const LONGEST_MS = 5000;
const RETRY_AFTER_SECONDS = 5;

/**
 * Refuses what would wait too long: at most `MAX_BACKLOG` waiting tasks per agent and tenant. Counted in Postgres twice a second, more
 * rarely where counting takes long, and by this process in between, acceptances under way included. So only several instances together may
 * exceed it, by what they accept between two counts; and nobody is refused for a count that is older than half a second.
 */
@Injectable()
export class Backlog {
  private waiting = new Map<string, number>();
  private readonly underWay = new Map<string, number>();
  private countedAt = -Infinity;
  private pauseMs = REFRESH_MS;
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
    await this.refresh(this.pauseMs);
    if (!this.hasRoom(tenant)) await this.refresh(REFRESH_MS);
    if (this.hasRoom(tenant)) {
      this.underWay.set(tenant, (this.underWay.get(tenant) ?? 0) + 1);
      return (created) => this.settle(tenant, created);
    }
    const limit = this.agent.config.MAX_BACKLOG;
    throw new RetryableError('backlog-full', `${limit} tasks are waiting already; try again later`, {
      status: 429,
      retryAfterMs: RETRY_AFTER_SECONDS * 1000,
      headers: {
        'ratelimit-policy': `"backlog";q=${limit}`,
        ratelimit: `"backlog";r=0;t=${RETRY_AFTER_SECONDS}`,
      },
    });
  }

  private hasRoom(tenant: string): boolean {
    const waiting = (this.waiting.get(tenant) ?? 0) + (this.underWay.get(tenant) ?? 0);
    return waiting < this.agent.config.MAX_BACKLOG;
  }

  private async refresh(olderThanMs: number): Promise<void> {
    if (performance.now() - this.countedAt > olderThanMs) await (this.counting ??= this.count());
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
      this.countedAt = performance.now();
      const enough = (this.countedAt - began) / COUNTING_SHARE;
      this.pauseMs = Math.min(Math.max(REFRESH_MS, enough), LONGEST_MS);
    } finally {
      this.counting = undefined;
    }
  }
}
