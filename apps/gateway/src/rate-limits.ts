import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';
import {
  RateLimiterMemory,
  RateLimiterRedis,
  RateLimiterRes,
  type RateLimiterAbstract,
} from 'rate-limiter-flexible';
import { LOGGER } from '#libs/chassis';
import { RetryableError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';

export const RATE_LIMIT_OPTIONS = Symbol('RateLimitOptions');

export interface RateLimitOptions {
  /** Null counts in this process alone. */
  redisUrl: string | null;
  perMinute: number;
}

const WINDOW_SECONDS = 60;

/** Requests of one key or user per minute, over all instances; while Redis is away each instance counts for itself. */
@Injectable()
export class RateLimits implements OnApplicationShutdown {
  private readonly limiter: RateLimiterAbstract;
  private readonly redis?: Redis;

  constructor(
    @Inject(RATE_LIMIT_OPTIONS) private readonly options: RateLimitOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    const window = { points: options.perMinute, duration: WINDOW_SECONDS };
    const inMemory = new RateLimiterMemory(window);
    if (options.redisUrl) this.redis = this.connect(options.redisUrl);
    this.limiter = this.redis
      ? new RateLimiterRedis({
          ...window,
          storeClient: this.redis,
          keyPrefix: `baton:gateway:rate:${options.perMinute}`,
          insuranceLimiter: inMemory,
        })
      : inMemory;
  }

  onApplicationShutdown(): void {
    this.redis?.disconnect();
  }

  /**
   * Counts one request of `key`.
   * @returns the headers of its answer @throws RetryableError 429 `rate-limited`
   */
  async consume(key: string): Promise<Record<string, string>> {
    try {
      return this.headersOf(await this.limiter.consume(key));
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      throw new RetryableError('rate-limited', `${this.options.perMinute} requests a minute are allowed`, {
        status: 429,
        retryAfterMs: refused.msBeforeNext,
        headers: this.headersOf(refused),
      });
    }
  }

  /** draft-ietf-httpapi-ratelimit-headers-10 */
  private headersOf({ remainingPoints, msBeforeNext }: RateLimiterRes): Record<string, string> {
    return {
      'RateLimit-Policy': `"key";q=${this.options.perMinute};w=${WINDOW_SECONDS}`,
      RateLimit: `"key";r=${Math.max(0, remainingPoints)};t=${Math.ceil(msBeforeNext / 1000)}`,
    };
  }

  private connect(url: string): Redis {
    const redis = new Redis(url, {
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: 250,
      connectTimeout: 2000,
      retryStrategy: (times) => Math.min(times * 100, 2000),
    });
    let reported = false;
    redis.on('ready', () => (reported = false));
    redis.on('error', (error: Error) => {
      if (!reported)
        this.logger.warn({ err: error.message }, 'redis away: requests are counted per instance');
      reported = true;
    });
    return redis;
  }
}
