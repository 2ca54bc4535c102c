import { setTimeout as sleep } from 'node:timers/promises';
import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { failpoint, LOGGER } from '#libs/chassis';
import { BatonError, messageOf, RetryableError, TerminalError } from '#libs/contracts';
import { Batcher } from '#libs/database';
import type { Logger } from '#libs/telemetry';
import { HANDOFF, type Delivery, type Handoff, type OutgoingMessage } from './handoff.js';
import { HandoffMetrics } from './metrics.js';
import { OutboxRepository, type HeldMessage } from './outbox.repository.js';
import { Outgoing } from './outgoing.js';

/** A stop waits so long for the batch in hand: the whole service has 10 s. */
const FINISH_MS = 4000;
const BATCH = 500;
/** Without `wake()`: what another instance left behind waits so long at most. */
const POLL_MS = 1000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5000;
/** After a batch of which nothing could be sent; `wake()` does not shorten it. */
const REST_MS = 500;
/** What is under way for long is looked up ever more rarely: its recipient may not even exist yet. */
const LONGEST_LOOK_MS = 300_000;

const MOST_TOLD = 1000;

interface Ready {
  message: HeldMessage;
  outgoing: OutgoingMessage;
}

interface Settled {
  message: HeldMessage;
  outcome: Delivery;
}

const keyOf = ({ destination, key }: HeldMessage): string => JSON.stringify([destination, key]);

/**
 * Publishes the outbox, for ever: nothing else publishes. At least once, and in the order of the outbox per destination and key, however many
 * instances run: they take turns.
 */
@Injectable()
export class MessageRelay implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly deliveries: Batcher<string, undefined>;
  private working: Promise<void> = Promise.resolve();
  private stopped = false;
  private woken = false;
  /** Nothing of the last batch could be sent. */
  private resting = false;
  /** Destinations with more than a batch of messages that could not be sent: until then they do not keep what lies behind them. */
  private readonly aside = new Map<string, number>();
  private failures = 0;
  /** Delivered, and still to be forgotten: lost with this process, they are published once more. */
  private delivered: string[] = [];
  /** Queues that nobody takes messages from, as the log says. */
  private readonly told = new Set<string>();
  private interrupt: () => void = () => undefined;

  constructor(
    @Inject(OutboxRepository) private readonly outbox: OutboxRepository,
    @Inject(HANDOFF) private readonly handoff: Handoff,
    @Inject(Outgoing) private readonly outgoing: Outgoing,
    @Inject(HandoffMetrics) private readonly metrics: HandoffMetrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.deliveries = new Batcher(async (ids) => {
      await this.outbox.delete(ids);
      return ids.map(() => undefined);
    });
  }

  onApplicationBootstrap(): void {
    this.handoff.onDelivered?.((id) => {
      // Lost, the message is offered once more, and found to be delivered.
      this.deliveries.add(id).then(
        () => this.wake(),
        () => undefined,
      );
    });
    this.working = this.run();
  }

  /** Says that something was committed to the outbox; cheap, never throws. */
  wake(): void {
    this.woken = true;
    if (!this.resting) this.interrupt();
  }

  /** The batch in hand is finished; the rest waits in the outbox. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopped = true;
    this.interrupt();
    // What a transport that is away may still take is sent again by the next relay, and known by its id.
    await Promise.race([this.working, sleep(FINISH_MS, undefined, { ref: false })]);
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      const woken = this.woken;
      this.woken = false;
      try {
        if (!woken && this.delivered.length === 0 && !(await this.outbox.hasDue(this.handoff.oneAtATime)))
          await this.idle(POLL_MS);
        else {
          const taken = await this.relay();
          if (this.resting) await this.rest();
          else if (taken < BATCH && this.delivered.length === 0) await this.idle(POLL_MS);
        }
      } catch (error) {
        this.logger.warn({ err: messageOf(error) }, 'outbox not relayed');
        this.resting = false;
        await this.idle(POLL_MS);
      }
    }
    await this.outbox.delete(this.delivered).catch(() => undefined);
    await this.outbox.endTurn().catch(() => undefined);
  }

  private idle(ms: number): Promise<void> {
    if ((this.woken && !this.resting) || this.stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.interrupt = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private async rest(): Promise<void> {
    await this.idle(REST_MS);
    this.resting = false;
  }

  /** One batch; returns how many messages were taken. */
  async relay(): Promise<number> {
    const { holdMs, oneAtATime } = this.handoff;
    const forget = this.delivered;
    for (const [topic, until] of this.aside) if (until <= Date.now()) this.aside.delete(topic);
    const held = await this.outbox.take(BATCH, holdMs, oneAtATime, forget, [...this.aside.keys()]);
    this.delivered = [];
    if (held.length === 0) return 0;
    await failpoint('outbox.after-take');
    const { found, unknown } = await this.lookUp(held);
    const notFound = new Set(unknown);
    const prepared = await Promise.all(unknown.map((message) => this.outgoing.prepare(message)));
    const ready: Ready[] = [];
    const waiting: HeldMessage[] = [];
    const blocked = new Set<string>();
    for (const [i, message] of unknown.entries()) {
      const outgoing = prepared[i]!;
      if (outgoing instanceof TerminalError && (await this.bury(message, outgoing))) continue;
      if (outgoing instanceof BatonError || blocked.has(keyOf(message))) {
        blocked.add(keyOf(message));
        waiting.push(message);
      } else ready.push({ message, outgoing });
    }
    const cause = prepared.find((one) => one instanceof RetryableError);
    waiting.push(...(await this.settle([...found, ...(await this.publish(ready))])));
    this.resting = waiting.length === held.length;
    await this.putOff(waiting, cause, (message) => message.underWay && !notFound.has(message));
    return held.length;
  }

  /** What is under way needs no token to be looked up: its own may be too old by now to be exchanged. */
  private async lookUp(held: HeldMessage[]): Promise<{ found: Settled[]; unknown: HeldMessage[] }> {
    const asked = held.map(({ id, destination: topic, createdAt, underWay }) => ({
      id,
      topic,
      createdAt,
      underWay,
    }));
    const outcomes = (await this.handoff.lookUp?.(asked)) ?? [];
    const found: Settled[] = [];
    const unknown: HeldMessage[] = [];
    for (const [i, message] of held.entries()) {
      const outcome = outcomes[i] ?? null;
      if (outcome === null) unknown.push(message);
      else found.push({ message, outcome });
    }
    return { found, unknown };
  }

  private async publish(ready: Ready[]): Promise<Settled[]> {
    if (ready.length === 0) return [];
    const outcomes = await this.handoff.publish(ready.map(({ outgoing }) => outgoing));
    await failpoint('outbox.after-publish');
    return ready.map(({ message }, i) => ({ message, outcome: outcomes[i]! }));
  }

  /** Returns those that were not delivered. */
  private async settle(settled: Settled[]): Promise<HeldMessage[]> {
    const failed: HeldMessage[] = [];
    const old: HeldMessage[] = [];
    for (const { message, outcome } of settled) {
      if (outcome === 'delivered') {
        this.delivered.push(message.id);
        this.metrics.published(message.kind, 'delivered');
      } else if (outcome === 'under-way') {
        if (Date.now() - message.createdAt.getTime() > 10 * this.handoff.holdMs) old.push(message);
      } else if (outcome === 'expired') {
        this.delivered.push(message.id);
        this.metrics.published(message.kind, 'expired');
        this.logger.warn({ message_id: message.id, kind: message.kind }, 'nobody took the message');
      } else {
        failed.push(message);
        this.metrics.published(message.kind, 'failed');
      }
    }
    await this.leave(old);
    const error = settled.find(({ outcome }) => outcome instanceof Error)?.outcome;
    if (error) this.logger.warn({ messages: failed.length, err: messageOf(error) }, 'not published');
    return failed;
  }

  /** They lie in the queues of recipients that may be away, or not exist yet: nothing is wrong here, and somebody should know. */
  private async leave(old: HeldMessage[]): Promise<void> {
    await this.outbox.leaveUnderWay(
      old.map(({ id }) => id),
      LONGEST_LOOK_MS,
    );
    for (const { destination: topic } of old) {
      if (this.told.has(topic)) continue;
      // Reply addresses come from outside.
      if (this.told.size === MOST_TOLD) this.told.clear();
      this.told.add(topic);
      this.logger.info({ topic }, 'nobody takes messages from this queue yet');
    }
  }

  private async putOff(
    waiting: HeldMessage[],
    cause: unknown,
    isUnderWay: (message: HeldMessage) => boolean,
  ): Promise<void> {
    if (waiting.length === 0) {
      this.failures = 0;
      return;
    }
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(this.failures, 10), LONGEST_PAUSE_MS);
    this.failures += 1;
    if (this.resting && waiting.length >= BATCH)
      for (const { destination } of waiting) this.aside.set(destination, Date.now() + pause);
    if (cause) this.logger.warn({ messages: waiting.length, err: messageOf(cause) }, 'not published yet');
    await this.outbox.release(
      waiting.map(({ id }) => id),
      pause,
      waiting.filter(isUnderWay).map(({ id }) => id),
    );
  }

  /** What can never be sent becomes a dead letter; false for what stays, as nothing can replace it. */
  private async bury(message: HeldMessage, cause: TerminalError): Promise<boolean> {
    this.metrics.published(message.kind, 'poison');
    const fields = { message_id: message.id, kind: message.kind, code: cause.code, err: cause.message };
    this.logger.error(fields, 'message cannot be sent');
    const letter = this.outgoing.replacement(message, cause);
    if (!letter) return false;
    await this.outbox.replace(message.id, letter);
    this.woken = true;
    return true;
  }
}
