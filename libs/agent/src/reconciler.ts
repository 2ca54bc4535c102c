import { setTimeout as sleep } from 'node:timers/promises';
import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { failpoint, LOGGER } from '#libs/chassis';
import { messageOf } from '#libs/contracts';
import type { Dispatch } from '#libs/messaging';
import type { Logger } from '#libs/telemetry';
import { AGENT, type Agent } from './agent.js';
import { Dispatcher } from './dispatcher.js';
import { DispatchRepository } from './store/dispatch.repository.js';
import { TaskRepository } from './store/task.repository.js';

const BATCH = 500;
/** Unfinished tasks at which one sweep looks for lost jobs. */
const LOOK = 2000;
/** Batches without a task that should have a job, in one sweep. */
const PASSED_AT_ONCE = 10;
/** A long queue is filled up so often: what workers take in between should be less than it holds. */
const REFILL_MS = 250;
/** Longer than what was left to the relay takes to become due. */
const BEHIND_MS = 2000;
/** Longer than telling the queue can take. */
const RELAY_HOLD_MS = 5000;
const PRUNE_EVERY_MS = 600_000;
const PRUNE_BATCH = 200;

/**
 * Makes Redis agree with Postgres, for ever: relays what the queue was not told of, dispatches tasks anew whose worker died or
 * whose job is gone, deletes what is past its retention. Any number of instances may run it.
 */
@Injectable()
export class Reconciler implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly stopping = new AbortController();
  private working: Promise<unknown> = Promise.resolve();
  /** Until then the outbox may hold what the queue was not told of because it was long. */
  private behindUntil = -Infinity;
  private lookedUpTo = '0';
  private prunedAt = 0;

  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(DispatchRepository) private readonly dispatches: DispatchRepository,
    @Inject(TaskRepository) private readonly tasks: TaskRepository,
    @Inject(Dispatcher) private readonly dispatcher: Dispatcher,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.working = Promise.all([
      this.repeat(this.agent.config.RECONCILE_MS, [
        () => this.redispatchExpired(),
        () => this.relay(),
        () => this.redispatchLost(),
        () => this.prune(),
      ]),
      this.repeat(REFILL_MS, [
        async () => void (performance.now() < this.behindUntil && (await this.relay())),
      ]),
    ]);
  }

  private get stopped(): boolean {
    return this.stopping.signal.aborted;
  }

  /** Round after round; failures are logged and left to the next. */
  private async repeat(pauseMs: number, steps: Array<() => Promise<void>>): Promise<void> {
    for (;;) {
      await sleep(pauseMs, undefined, { signal: this.stopping.signal }).catch(() => undefined);
      for (const step of steps) {
        if (this.stopped) return;
        await step().catch((error: unknown) => this.logger.warn({ err: messageOf(error) }, 'reconciler'));
      }
    }
  }

  /** Tells the queue of the oldest dispatches that it was not told of, until it is long. */
  private async relay(): Promise<void> {
    const { id } = this.agent.definition;
    const tell = async (dispatches: Dispatch[]) => {
      await failpoint('relay.before-add');
      await this.dispatcher.queue.add(dispatches);
      await failpoint('relay.after-add');
    };
    do {
      if (await this.dispatcher.isLong()) {
        this.behindUntil = performance.now() + BEHIND_MS;
        return;
      }
    } while (!this.stopped && (await this.dispatches.relay(id, BATCH, RELAY_HOLD_MS, tell)) === BATCH);
  }

  private async redispatchExpired(): Promise<void> {
    const again = await this.dispatches.redispatchExpired(
      this.agent.definition.id,
      this.agent.config.LEASE_MS,
      BATCH,
    );
    this.tell(again, 'lease ran out');
  }

  /** Looks for the jobs of waiting tasks, a batch after the other, and starts over at the end. */
  private async redispatchLost(): Promise<void> {
    const { id } = this.agent.definition;
    for (let passed = 0; passed < PASSED_AT_ONCE;) {
      const { dispatches, next } = await this.dispatches.waiting(
        id,
        this.agent.config.LOST_AFTER_MS,
        this.lookedUpTo,
        LOOK,
      );
      const lost = dispatches.length > 0 ? await this.dispatcher.queue.missing(dispatches) : [];
      if (lost.length > 0) this.tell(await this.dispatches.redispatchLost(lost), 'job lost');
      this.lookedUpTo = next ?? '0';
      // Where one batch has lost jobs the next ones have, too: Redis was emptied. A batch of nothing but sessions' followers and rows of the outbox tells nothing.
      if (dispatches.length === 0) passed += 1;
      if (this.stopped || next === null || (dispatches.length > 0 && lost.length === 0)) return;
    }
  }

  private tell(dispatches: Dispatch[], cause: string): void {
    for (const dispatch of dispatches) this.dispatcher.tell(dispatch);
    if (dispatches.length > 0) this.logger.warn({ tasks: dispatches.length, cause }, 'dispatched again');
  }

  private async prune(): Promise<void> {
    if (performance.now() - this.prunedAt < PRUNE_EVERY_MS) return;
    // Also when it fails: it must not be tried again at every look.
    this.prunedAt = performance.now();
    const { definition, config } = this.agent;
    while (
      !this.stopped &&
      (await this.tasks.prune(definition.id, config.RETENTION_DAYS, PRUNE_BATCH)) === PRUNE_BATCH
    );
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.stopping.abort();
    await this.working;
  }
}
