import { setTimeout as sleep } from 'node:timers/promises';
import type { EachBatchPayload, KafkaMessage } from 'kafkajs';
import type { RetryableError } from '#libs/contracts';

/** Keys of one partition that are worked on at the same time. */
const LANES_AT_ONCE = 64;
const HEARTBEAT_MS = 1000;

export interface BatchResult {
  /** The first message that is not done yet; null when all are. */
  next: string | null;
  /** Offsets after `next` that are done already: they are skipped when the partition is read again from `next`. */
  ahead: Set<string>;
  /** Why messages have to wait; null when the batch was only interrupted. */
  waiting: RetryableError | null;
}

export interface BatchOptions {
  /** Null when the message is done. */
  receive: (message: KafkaMessage) => Promise<RetryableError | null>;
  /** False as soon as no further message may be begun: the partition was taken away, or the service drains. */
  mayGoOn: () => boolean;
  /** Of the last time. */
  ahead: ReadonlySet<string>;
}

type Payload = Pick<EachBatchPayload, 'batch' | 'resolveOffset' | 'heartbeat' | 'commitOffsetsIfNecessary'>;

/**
 * Works through one batch of a partition: a message waits for the ones before it with the same key, different keys run at the same
 * time, and the partition's offset follows the last message before which nothing is open. A message that has to wait holds up its own key
 * only; where it stands the offset stops.
 * @throws what `receive` or the heartbeat (a rebalance, for one) threw, after everything in hand has ended
 */
export async function workThrough(payload: Payload, options: BatchOptions): Promise<BatchResult> {
  const { messages } = payload.batch;
  const done = messages.map(({ offset }) => options.ahead.has(offset));
  let frontier = 0;
  let waiting: RetryableError | null = null;
  let failure: { error: unknown } | null = null;
  const mayGoOn = () => failure === null && options.mayGoOn();

  const advance = () => {
    const before = frontier;
    while (done[frontier]) frontier += 1;
    if (frontier > before && options.mayGoOn()) payload.resolveOffset(messages[frontier - 1]!.offset);
  };
  const lane = async (indexes: number[]) => {
    for (const index of indexes) {
      if (!mayGoOn()) return;
      const later = await options.receive(messages[index]!);
      if (later) {
        waiting = later;
        return;
      }
      done[index] = true;
      advance();
    }
  };

  const ended = new AbortController();
  const pulse = keepAlive(payload, ended.signal).catch((error: unknown) => (failure ??= { error }));
  const lanes = lanesOf(messages, done).values();
  const takeLanes = async () => {
    for (const indexes of lanes) if (mayGoOn()) await lane(indexes);
  };
  advance();
  const workers = Array.from({ length: LANES_AT_ONCE }, () =>
    takeLanes().catch((error: unknown) => void (failure ??= { error })),
  );
  await Promise.all(workers);
  ended.abort();
  await pulse;
  if (failure) throw (failure as { error: unknown }).error;
  return {
    next: messages[frontier]?.offset ?? null,
    ahead: new Set(messages.filter((_, i) => i > frontier && done[i]).map(({ offset }) => offset)),
    waiting,
  };
}

/** Messages without a key are in no order. */
function lanesOf(messages: readonly KafkaMessage[], done: readonly boolean[]): number[][] {
  const lanes = new Map<string, number[]>();
  messages.forEach(({ key, offset }, i) => {
    if (done[i]) return;
    const name = key === null ? `offset ${offset}` : `key ${key.toString()}`;
    const lane = lanes.get(name);
    if (lane) lane.push(i);
    else lanes.set(name, [i]);
  });
  return [...lanes.values()];
}

/** The group hears of this member while messages are handled, however long that takes. */
async function keepAlive(payload: Payload, ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    await sleep(HEARTBEAT_MS, undefined, { signal: ended }).catch(() => undefined);
    if (ended.aborted) return;
    await payload.heartbeat();
    await payload.commitOffsetsIfNecessary();
  }
}
