import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { messageOf, RetryableError, TOPIC_RETENTION_DAYS } from '#libs/contracts';
import type { Channels } from '../channels.js';
import type { AskedMessage, Delivery, Handoff, OutgoingMessage, PlacedMessage } from '../handoff/handoff.js';
import { reconnect } from '../redis.js';

/** What a job holds: the same headers and the same bytes as a Kafka message. */
export interface HandoffJob {
  key: string;
  headers: Record<string, string>;
  /** Base64. */
  value: string;
}

const DEADLINE_MS = 2000;
/** Also the time after which a message whose job may be lost is looked up. */
const HOLD_MS = 4000;
const EXPIRY_MS = TOPIC_RETENTION_DAYS * 86_400_000;

/** Ended jobs stay long enough to be found done; then the inbox of the recipient knows them. */
const JOB_OPTIONS = {
  attempts: 1,
  removeOnComplete: { age: 3600, count: 10_000 },
  removeOnFail: { age: 3600, count: 10_000 },
} as const;

/** Where the recipients' transport tells that a message of `service` is done. Who can write to Redis is trusted, as with the queues. */
export const deliveredChannel = (service: string): string => `baton:handoff:delivered:${service}`;

/**
 * BullMQ as the hand-off, where no Kafka is configured: a queue per topic, the job's id is the message's. Redis may lose everything at
 * any moment, so a message stays in the outbox until its job was seen done, and is added again when its job is gone. Therefore the
 * next message of a key waits until then: whatever is lost, the order stays. What nobody takes is given up after as long as a Kafka topic
 * would keep it: inboxes do not remember for longer.
 */
export class BullHandoff implements Handoff {
  readonly holdMs = HOLD_MS;
  readonly oneAtATime = true;
  private readonly redis: Redis;
  private readonly queues = new Map<string, Queue>();
  private stopListening?: Promise<() => void>;

  constructor(
    url: string,
    private readonly service: string,
    private readonly channels: Channels,
  ) {
    this.redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: reconnect });
    this.redis.on('error', () => undefined);
  }

  async prepare(): Promise<void> {
    // A queue is there as soon as something is in it.
  }

  async check(): Promise<void> {
    if (this.redis.status !== 'ready') throw new Error('Redis is away');
  }

  onDelivered(listener: (id: string) => void): void {
    this.stopListening = this.channels.subscribe(deliveredChannel(this.service), listener);
  }

  lookUp(messages: readonly AskedMessage[]): Promise<Array<Delivery | null>> {
    return this.answered(messages, () => this.find(messages));
  }

  publish(messages: readonly OutgoingMessage[]): Promise<Delivery[]> {
    return this.answered(messages, () => this.offer(messages));
  }

  async close(): Promise<void> {
    (await this.stopListening)?.();
    this.redis.disconnect();
    await Promise.all([...this.queues.values()].map((queue) => queue.close().catch(() => undefined)));
  }

  private async answered<T>(
    messages: readonly PlacedMessage[],
    work: () => Promise<T[]>,
  ): Promise<Array<T | Error>> {
    try {
      await this.check();
      return await bounded(work());
    } catch (error) {
      const reason = new RetryableError('handoff-unavailable', `BullMQ: ${messageOf(error)}`, {
        cause: error,
      });
      return messages.map(() => reason);
    }
  }

  /** A job that is there already stays as it is. */
  private async offer(messages: readonly OutgoingMessage[]): Promise<Delivery[]> {
    for (const topic of new Set(messages.map((message) => message.topic)))
      await this.queue(topic).addBulk(messages.filter((message) => message.topic === topic).map(jobOf));
    return messages.map(() => 'under-way');
  }

  private async find(messages: readonly AskedMessage[]): Promise<Array<Delivery | null>> {
    const pipeline = this.redis.pipeline();
    for (const { topic, id } of messages) {
      const queue = this.queue(topic);
      pipeline.hget(queue.toKey(id), 'timestamp');
      for (const set of ['completed', 'failed']) pipeline.zscore(queue.toKey(set), id);
    }
    const answers = ((await pipeline.exec()) ?? []).map(([error, answer]) => {
      if (error) throw error;
      return answer;
    });
    return Promise.all(
      messages.map(async ({ topic, id, createdAt, underWay }, i): Promise<Delivery | null> => {
        const [addedAt, completed, failed] = answers.slice(3 * i, 3 * i + 3) as Array<string | null>;
        const queue = this.queue(topic);
        if (completed !== null && underWay) return 'delivered';
        // An older message that said the same was taken, or a worker died over and over: a new job of the id is refused while that one is there.
        const ended = completed !== null || failed !== null;
        if (ended) await queue.remove(id);
        // What was in no queue yet is offered whatever its age, and lies there for as long as any other.
        const since = Math.max(createdAt.getTime(), Number(addedAt));
        if (underWay && Date.now() - since > EXPIRY_MS)
          // Not the one that is being handled right now.
          if ((await queue.remove(id)) === 1 || !(await queue.getJob(id))) return 'expired';
        return addedAt === null || ended ? null : 'under-way';
      }),
    );
  }

  private queue(topic: string): Queue {
    let queue = this.queues.get(topic);
    if (!queue) {
      queue = new Queue(topic, { connection: this.redis });
      queue.on('error', () => undefined);
      this.queues.set(topic, queue);
    }
    return queue;
  }
}

function jobOf({ id, key, headers, value }: OutgoingMessage) {
  const data: HandoffJob = { key, headers, value: value.toString('base64') };
  return { name: headers['ce_type'] ?? 'message', data, opts: { ...JOB_OPTIONS, jobId: id } };
}

/** BullMQ waits for a lost Redis: a timeout means "unknown", and the message is offered again. */
async function bounded<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${DEADLINE_MS} ms`)), DEADLINE_MS);
  });
  work.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
