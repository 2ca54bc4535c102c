import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { RedisConnections } from './redis.js';

const SUBSCRIBE_WAIT_MS = 500;
/** Channels and messages that one script publishes. */
const MAX_ARGUMENTS = 512;
/** A channel that Redis refuses does not hold up the others. */
const PUBLISH_ALL = `for i = 1, #ARGV, 2 do redis.pcall('publish', ARGV[i], ARGV[i + 1]) end`;

type PublishAll = RedisConnections['commands'] & {
  publishAll(...channelsAndMessages: string[]): Promise<void>;
};
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
  /** Channel, message, channel, message, … */
  private outgoing: string[] = [];

  constructor(@Inject(RedisConnections) private readonly redis: RedisConnections) {
    redis.commands.defineCommand('publishAll', { lua: PUBLISH_ALL, numberOfKeys: 0 });
    redis.subscriber.on('message', (channel: string, message: string) => {
      for (const listener of this.subscriptions.get(channel)?.listeners ?? []) listener(message);
    });
  }

  /** Never throws and never waits. Messages of one moment share a command: one for each took a twelfth of a busy agent's time. */
  publish(channel: string, message: string): void {
    if (this.outgoing.length === 0) setImmediate(() => this.flush());
    this.outgoing.push(channel, message);
  }

  private flush(): void {
    const all = this.outgoing;
    this.outgoing = [];
    for (let i = 0; i < all.length; i += MAX_ARGUMENTS)
      (this.redis.commands as PublishAll)
        .publishAll(...all.slice(i, i + MAX_ARGUMENTS))
        .catch(() => undefined);
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
