import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { LOGGER } from '#libs/chassis';
import { RetryableError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';

export const REDIS_URL = Symbol('RedisUrl');

const WINDOW_SECONDS = 60;
/** An instance takes this share of a limit from Redis at once; limits below 200 are counted one by one. */
const BLOCK_SHARE = 0.01;

/**
 * Calls per minute of each agent × tool, counted in Redis over all instances to one hundredth of the limit. While Redis is away or slow every instance
 * counts for itself.
 */
@Injectable()
export class RateLimits implements OnApplicationShutdown {
  private readonly redis: Redis;
  /** One limiter per number of calls; the agent and the tool are the key. */
  private readonly limiters = new Map<number, RateLimiterRedis>();
  /** What this instance took and has not used, by agent and tool; `beyond` is what was left for all instances after that. */
  private readonly blocks = new LRUCache<string, { left: number; beyond: number; until: number }>({
    max: 10_000,
  });
  private readonly taking = new Map<string, Promise<void>>();

  constructor(@Inject(REDIS_URL) url: string, @Inject(LOGGER) logger: Logger) {
    this.redis = new Redis(url, {
      enableAutoPipelining: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: 250,
      connectTimeout: 2000,
      retryStrategy: (times) => Math.min(times * 100, 2000),
    });
    let reported = false;
    this.redis.on('ready', () => (reported = false));
    this.redis.on('error', (error: Error) => {
      if (!reported) logger.warn({ err: error.message }, 'redis away: rate limits count per instance');
      reported = true;
    });
  }

  onApplicationShutdown(): void {
    this.redis.disconnect();
  }

  /**
   * Counts one call.
   * @returns the `RateLimit` headers of its answer.
   * @throws RetryableError 429 `rate-limited`.
   */
  async consume(agent: string, tool: string, perMinute: number): Promise<Record<string, string>> {
    const key = `${agent}:${tool}`;
    const size = Math.floor(perMinute * BLOCK_SHARE);
    try {
      if (size <= 1) return headersOf(perMinute, await this.limiterOf(perMinute).consume(key));
      for (;;) {
        const block = this.blocks.get(key);
        const msBeforeNext = (block?.until ?? 0) - Date.now();
        if (block && block.left > 0 && msBeforeNext > 0) {
          block.left -= 1;
          return headersOf(perMinute, { remainingPoints: block.beyond + block.left, msBeforeNext });
        }
        await this.takeBlock(key, perMinute, size);
      }
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      throw new RetryableError('rate-limited', `${agent} may call ${tool} ${perMinute} times a minute`, {
        status: 429,
        retryAfterMs: refused.msBeforeNext,
        headers: headersOf(perMinute, refused),
      });
    }
  }

  /** Calls that find the block used up at the same time share the next one: each its own would use up the limit at once. */
  private takeBlock(key: string, perMinute: number, size: number): Promise<void> {
    let taking = this.taking.get(key);
    if (!taking) {
      taking = this.limiterOf(perMinute)
        .consume(key, size)
        .then(({ remainingPoints, msBeforeNext }) => {
          this.blocks.set(key, { left: size, beyond: remainingPoints, until: Date.now() + msBeforeNext });
        })
        .finally(() => this.taking.delete(key));
      this.taking.set(key, taking);
    }
    return taking;
  }

  private limiterOf(perMinute: number): RateLimiterRedis {
    let limiter = this.limiters.get(perMinute);
    if (!limiter) {
      const window = { points: perMinute, duration: WINDOW_SECONDS };
      const insuranceLimiter = new RateLimiterMemory(window);
      const keyPrefix = `baton:registry:rate:${perMinute}`;
      limiter = new RateLimiterRedis({ ...window, storeClient: this.redis, keyPrefix, insuranceLimiter });
      this.limiters.set(perMinute, limiter);
    }
    return limiter;
  }
}

/** draft-ietf-httpapi-ratelimit-headers-10 */
function headersOf(
  perMinute: number,
  { remainingPoints, msBeforeNext }: Pick<RateLimiterRes, 'remainingPoints' | 'msBeforeNext'>,
): Record<string, string> {
  return {
    'RateLimit-Policy': `"tool";q=${perMinute};w=${WINDOW_SECONDS}`,
    RateLimit: `"tool";r=${Math.max(0, remainingPoints)};t=${Math.ceil(msBeforeNext / 1000)}`,
  };
}
