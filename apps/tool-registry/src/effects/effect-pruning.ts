import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { LOGGER } from '#libs/chassis';
import { messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { EffectsRepository } from './effects.repository.js';

const KEEP_DAYS = 30;
const EVERY_MS = 3_600_000;
const BATCH = 1000;
const MAX_BATCHES = 100;

/** Once an hour deletes effects that nobody asks for any more, in small batches. */
@Injectable()
export class EffectPruning implements OnApplicationBootstrap, OnApplicationShutdown {
  private timer?: NodeJS.Timeout;
  private closed = false;

  constructor(
    @Inject(EffectsRepository) private readonly effects: EffectsRepository,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => void this.prune(), EVERY_MS).unref();
  }

  onApplicationShutdown(): void {
    this.closed = true;
    clearInterval(this.timer);
  }

  private async prune(): Promise<void> {
    try {
      for (let i = 0; i < MAX_BATCHES && !this.closed; i++)
        if ((await this.effects.prune(KEEP_DAYS, BATCH)) < BATCH) return;
    } catch (error) {
      this.logger.warn({ err: messageOf(error) }, 'effects not pruned');
    }
  }
}
