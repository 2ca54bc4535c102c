import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { RedisConnections } from './redis.js';

const SUBSCRIBE_WAIT_MS = 500;

type Listener = (message: string) => void;

interface Subscription {
  listeners: Set<Listener>;
  active: Promise<unknown>;
}

/**
 * Redis pub/sub by channel name. Best effort by design: a message published while Redis or the subscriber is away is lost,
 * so listeners read the truth from Postgres when they start and from time to time.
 */
@Injectable()
export class Channels {
  private readonly subscriptions = new Map<string, Subscription>();

  constructor(@Inject(RedisConnections) private readonly redis: RedisConnections) {
    redis.subscriber.on('message', (channel: string, message: string) => {
      for (const listener of this.subscriptions.get(channel)?.listeners ?? []) listener(message);
    });
  }

  /** Never throws and never waits. */
  publish(channel: string, message: string): void {
    this.redis.commands.publish(channel, message).catch(() => undefined);
  }

  /**
   * Resolves when messages arrive, or after a short while without Redis (the subscription then follows by itself).
   * Call the returned function to stop listening.
   */
  async subscribe(channel: string, listener: Listener): Promise<() => void> {
    let subscription = this.subscriptions.get(channel);
    if (!subscription) {
      const active = this.redis.subscriber.subscribe(channel).catch(() => undefined);
      this.subscriptions.set(channel, (subscription = { listeners: new Set(), active }));
    }
    subscription.listeners.add(listener);
    await Promise.race([subscription.active, sleep(SUBSCRIBE_WAIT_MS)]);
    return () => this.unsubscribe(channel, listener);
  }

  private unsubscribe(channel: string, listener: Listener): void {
    const subscription = this.subscriptions.get(channel);
    if (!subscription?.listeners.delete(listener) || subscription.listeners.size > 0) return;
    this.subscriptions.delete(channel);
    this.redis.subscriber.unsubscribe(channel).catch(() => undefined);
  }
}
