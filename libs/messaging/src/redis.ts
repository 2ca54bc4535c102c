import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';
import { LOGGER, Readiness } from '#libs/chassis';
import { messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';

export const REDIS_URL = Symbol('RedisUrl');

/** Reconnects for ever, at most every 2 s: Redis is never needed to keep a promise. */
export const reconnect = (attempt: number): number => Math.min(attempt * 100, 2000);

/**
 * The service's connections to Redis: `commands` fails fast while Redis is away (callers treat it as lost speed, not lost work);
 * `subscriber` is used for subscriptions alone.
 */
@Injectable()
export class RedisConnections implements OnApplicationShutdown {
  readonly commands: Redis;
  readonly subscriber: Redis;

  constructor(
    @Inject(REDIS_URL) url: string,
    @Inject(Readiness) readiness: Readiness,
    @Inject(LOGGER) logger: Logger,
  ) {
    this.commands = new Redis(url, {
      enableAutoPipelining: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: 2000,
      retryStrategy: reconnect,
    });
    this.subscriber = new Redis(url, {
      maxRetriesPerRequest: null,
      retryStrategy: reconnect,
      autoResubscribe: true,
    });
    for (const client of [this.commands, this.subscriber])
      client.on('error', (error) => logger.debug({ err: messageOf(error) }, 'redis connection'));
    readiness.add({
      name: 'redis',
      check: () => this.checkReady(),
      fix: 'start Redis, or correct REDIS_URL; its maxmemory-policy must be noeviction',
    });
  }

  private async checkReady(): Promise<void> {
    await this.commands.ping();
    // Managed offerings may refuse CONFIG: then the policy is the operator's word.
    const answer = await this.commands.config('GET', 'maxmemory-policy').catch(() => []);
    const policy = (answer as string[])[1];
    if (policy && policy !== 'noeviction')
      throw new Error(`maxmemory-policy is ${policy}: queue entries could be evicted`);
  }

  onApplicationShutdown(): void {
    this.commands.disconnect();
    this.subscriber.disconnect();
  }
}
