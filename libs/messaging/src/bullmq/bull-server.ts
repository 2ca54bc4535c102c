import { BaseRpcContext, Server, type CustomTransportStrategy } from '@nestjs/microservices';
import { DelayedError, Worker, type Job } from 'bullmq';
import { finalize, isObservable, lastValueFrom } from 'rxjs';
import type { Logger } from '#libs/telemetry';
import type { Channels } from '../channels.js';
import { messageId, traceparentOf } from '../handoff/envelope.js';
import type { IncomingMessage, PoisonHandler, RawMessage } from '../handoff/handoff.js';
import { pauseBefore, type MessageReceiver } from '../handoff/receiver.js';
import { reconnect } from '../redis.js';
import { deliveredChannel, type HandoffJob } from './bull-handoff.js';

/** A worker that is silent for so long loses its jobs, and they are handled again. */
const LOCK_MS = 15_000;
const STALL_SWEEP_MS = 5000;
const JOBS_AT_ONCE = 64;
const SOURCE = /^\/services\/([a-z][a-z0-9-]{0,62})$/;

export interface BullServerOptions {
  url: string;
  receiver: MessageReceiver;
  channels: Channels;
  onPoison: PoisonHandler;
  onCrash: (error: unknown) => void;
  logger: Logger;
}

export class BullContext extends BaseRpcContext<[Job]> {}

/** Nest transport over BullMQ queues named like the topics; handlers are the same as those of Kafka and get the same messages. */
export class BullHandoffServer extends Server implements CustomTransportStrategy {
  override readonly transportId = Symbol('BullMQ');
  private workers: Worker<HandoffJob>[] = [];

  constructor(private readonly own: BullServerOptions) {
    super();
  }

  listen(callback: () => void): void {
    this.workers = [...this.messageHandlers.keys()].map((topic) => {
      const worker = new Worker<HandoffJob>(topic, (job, token) => this.process(topic, job, token), {
        connection: { url: this.own.url, maxRetriesPerRequest: null, retryStrategy: reconnect },
        concurrency: JOBS_AT_ONCE,
        lockDuration: LOCK_MS,
        stalledInterval: STALL_SWEEP_MS,
        maxStalledCount: 1000,
      });
      worker.on('error', (error) => this.own.logger.debug({ err: error.message }, 'hand-off worker'));
      return worker;
    });
    callback();
  }

  /** Finishes what is in hand. */
  async drain(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.close()));
  }

  close(): Promise<void> {
    return this.drain();
  }

  on(): never {
    throw new Error('Not supported by the BullMQ transport');
  }

  unwrap<T>(): T {
    return this.workers as T;
  }

  private async process(topic: string, job: Job<HandoffJob>, token: string | undefined): Promise<void> {
    const raw = rawMessage(topic, job);
    const dispatch = (message: IncomingMessage) => this.dispatch(topic, message, new BullContext([job]));
    const later = await this.own.receiver
      .receive(raw, dispatch, this.own.onPoison)
      .catch((error: unknown) => {
        this.own.onCrash(error);
        throw error;
      });
    if (later) {
      await job.moveToDelayed(Date.now() + pauseBefore(job.attemptsStarted), token);
      throw new DelayedError();
    }
    const sender = SOURCE.exec(raw.headers['ce_source'] ?? '')?.[1];
    // The job's id is what the sender's relay gave it; the headers may claim another.
    if (sender && job.id) this.own.channels.publish(deliveredChannel(sender), job.id);
  }

  private dispatch(topic: string, message: IncomingMessage, context: BullContext): Promise<void> {
    const handler = this.messageHandlers.get(topic)!;
    return this.runWithProcessingHooks(context, async (ended) => {
      const result: unknown = await handler(message, context);
      if (!isObservable(result)) return ended();
      await lastValueFrom(result.pipe(finalize(ended)), { defaultValue: undefined });
    }) as unknown as Promise<void>;
  }
}

/** A job that somebody else added may hold anything; what is missing makes it poison later. */
function rawMessage(topic: string, job: Job<HandoffJob>): RawMessage {
  const { headers: given, key, value } = (job.data ?? {}) as Partial<Record<keyof HandoffJob, unknown>>;
  const entries = Object.entries(given !== null && typeof given === 'object' ? given : {});
  const headers = Object.fromEntries(
    entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
  const place = JSON.stringify([topic, job.id]);
  return {
    id: messageId(headers, place),
    place,
    topic,
    partition: 0,
    offset: null,
    key: typeof key === 'string' ? key : '',
    headers,
    value: Buffer.from(typeof value === 'string' ? value : '', 'base64'),
    appendedAt: new Date(job.timestamp),
    traceparent: traceparentOf(headers),
  };
}
