import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { LOGGER } from '#libs/chassis';
import { LONGEST_MESSAGE_DAYS, messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { InboxRepository } from './inbox.repository.js';
import { HandoffMetrics } from './metrics.js';
import { OutboxRepository } from './outbox.repository.js';

const LOOK_EVERY_MS = 5000;
const PRUNE_EVERY_MS = 600_000;
const PRUNE_BATCH = 1000;
/** Longer than any topic keeps a message: whatever can still be read again is known. */
const INBOX_DAYS = LONGEST_MESSAGE_DAYS + 1;

/** Tells the outbox' age and forgets old inbox rows. */
@Injectable()
export class HandoffHousekeeping implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private timer?: NodeJS.Timeout;
  private working: Promise<void> = Promise.resolve();
  private stopped = false;
  private prunedAt = performance.now();

  constructor(
    @Inject(OutboxRepository) private readonly outbox: OutboxRepository,
    @Inject(InboxRepository) private readonly inbox: InboxRepository,
    @Inject(HandoffMetrics) private readonly metrics: HandoffMetrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.schedule();
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.working;
  }

  private schedule(): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => {
      this.working = this.look()
        .catch((error: unknown) => this.logger.debug({ err: messageOf(error) }, 'hand-off housekeeping'))
        .finally(() => this.schedule());
    }, LOOK_EVERY_MS);
  }

  private async look(): Promise<void> {
    this.metrics.outbox(await this.outbox.standing());
    if (performance.now() - this.prunedAt < PRUNE_EVERY_MS) return;
    this.prunedAt = performance.now();
    while (!this.stopped && (await this.inbox.prune(INBOX_DAYS, PRUNE_BATCH)) === PRUNE_BATCH);
  }
}
