import { getQueueToken } from '@nestjs/bullmq';
import { Inject, Injectable } from '@nestjs/common';
import type { Queue } from 'bullmq';
import { failpoint } from '#libs/chassis';
import { Batcher } from '#libs/database';
import { RedisConnections, WorkQueue, type Dispatch } from '#libs/messaging';
import { shortName } from './definition.js';
import { LocalRuns } from './local-runs.js';

export const queueName = (agentId: string): string => `agent.run.${shortName(agentId)}`;

/** Injection token of the agent's BullMQ queue under a fixed name. */
export const RUN_QUEUE = Symbol('RunQueue');
export const runQueueProvider = (agentId: string) => ({
  provide: RUN_QUEUE,
  useExisting: getQueueToken(queueName(agentId)),
});

/** What comes behind so many jobs cannot begin at once: until the queue is shorter, the outbox keeps it in order, and Redis need not. */
const LONG_QUEUE = 1000;
const LOOK_AGAIN_MS = 500;

/** Tells the queue of dispatches that are committed in the outbox. */
@Injectable()
export class Dispatcher {
  readonly queue: WorkQueue;
  private readonly adds: Batcher<Dispatch, undefined>;
  private longUntil = 0;

  constructor(
    @Inject(RUN_QUEUE) queue: Queue,
    @Inject(RedisConnections) redis: RedisConnections,
    @Inject(LocalRuns) private readonly local: LocalRuns,
  ) {
    this.queue = new WorkQueue(queue, redis.commands);
    this.adds = new Batcher(async (dispatches) => {
      await this.queue.add(dispatches);
      await this.isLong();
      return dispatches.map(() => undefined);
    });
  }

  /** Begins the task in this process if it has room, else tells the queue. */
  begin(dispatch: Dispatch): void {
    if (!this.local.offer(dispatch.taskId)) this.tell(dispatch);
  }

  /** At once, if the queue is short, and best effort: what fails here is in the outbox, and the relay takes it. */
  tell(dispatch: Dispatch): void {
    if (performance.now() < this.longUntil) return;
    failpoint('dispatch.before-add')
      .then(() => this.adds.add(dispatch))
      .catch(() => undefined);
  }

  /** True when the queue needs no more; `tell` leaves what comes next to the relay then. @throws RetryableError `queue-unavailable` */
  async isLong(): Promise<boolean> {
    const long = (await this.queue.waiting()) >= LONG_QUEUE;
    if (long) this.longUntil = performance.now() + LOOK_AGAIN_MS;
    return long;
  }
}
