import type { KafkaMessage } from 'kafkajs';
import type { RetryableError } from '#libs/contracts';
import { pauseBefore } from '../handoff/receiver.js';

/** Keys of one partition that are worked on at the same time. */
const LANES_AT_ONCE = 64;
/** What a partition may hold of messages that were read and are not done; then it is not read further. */
const MAX_OPEN_MESSAGES = 1000;
const MAX_OPEN_BYTES = 8_388_608;
/** What a message costs beside its value. */
const MESSAGE_BYTES = 1024;

export interface PartitionOptions {
  /** Null when the message is done. */
  receive: (message: KafkaMessage) => Promise<RetryableError | null>;
  /** A handler of last resort failed: the process must not go on. */
  onFailure: (error: unknown) => void;
  /** Milliseconds before the next try. */
  pause?: (attempts: number) => number;
}

/** The open messages of a key, in their order. */
interface Lane {
  name: string;
  messages: KafkaMessage[];
  attempts: number;
  work: Promise<void> | null;
  rest: NodeJS.Timeout | null;
}

/**
 * The work on one partition from its assignment to its end: a message waits for the ones before it with the same key, different keys run
 * at the same time. A message that has to wait holds up its own key only, while the partition is read further; what may be committed
 * is the first message that is not done.
 */
export class PartitionWork {
  private readonly open = new Map<bigint, number>();
  private readonly lanes = new Map<string, Lane>();
  private bytes = 0;
  private next: bigint | null = null;
  private working = 0;
  private readonly queue: Array<() => void> = [];
  private halted = false;
  private onRoom: (() => void) | null = null;

  constructor(private readonly options: PartitionOptions) {}

  /** Where somebody else would have to begin; null before anything was read. */
  get offset(): string | null {
    const [first = this.next] = this.open.keys();
    return first?.toString() ?? null;
  }

  /** Whether the message at `offset` was read before. */
  hasRead(offset: string): boolean {
    return this.next !== null && BigInt(offset) < this.next;
  }

  /** Takes what was read, each message once and in their order; resolves when each of it is done or waits, or when the work was halted and nothing is in hand. */
  async add(messages: readonly KafkaMessage[]): Promise<void> {
    const touched = new Set<Lane>();
    for (const message of messages) {
      const offset = BigInt(message.offset);
      this.next = offset + 1n;
      const bytes = MESSAGE_BYTES + (message.value?.length ?? 0);
      this.open.set(offset, bytes);
      this.bytes += bytes;
      touched.add(this.putInLane(message));
    }
    await Promise.all([...touched].map((lane) => this.run(lane)));
  }

  /** Calls back as soon as there is room for more messages, or when the work is halted. */
  whenRoom(callback: () => void): void {
    this.onRoom = callback;
    if (this.hasRoom || this.halted) this.tellRoom();
  }

  get hasRoom(): boolean {
    return this.open.size < MAX_OPEN_MESSAGES && this.bytes < MAX_OPEN_BYTES;
  }

  /** Begins no further message; resolves when nothing is in hand. */
  async halt(): Promise<void> {
    this.halted = true;
    for (const waiting of this.queue.splice(0)) waiting();
    const lanes = [...this.lanes.values()];
    for (const { rest } of lanes) if (rest) clearTimeout(rest);
    await Promise.all(lanes.flatMap(({ work }) => work ?? []));
    this.tellRoom();
  }

  private putInLane(message: KafkaMessage): Lane {
    const { key, offset } = message;
    // Messages without a key are in no order.
    const name = key === null ? `offset ${offset}` : `key ${key.toString()}`;
    let lane = this.lanes.get(name);
    if (!lane) this.lanes.set(name, (lane = { name, messages: [], attempts: 0, work: null, rest: null }));
    lane.messages.push(lane.attempts > 0 ? detached(message) : message);
    return lane;
  }

  private async run(lane: Lane): Promise<void> {
    if (lane.rest || this.halted) return;
    await (lane.work ??= this.workOn(lane).finally(() => (lane.work = null)));
  }

  private async workOn(lane: Lane): Promise<void> {
    if (this.working < LANES_AT_ONCE) this.working += 1;
    else await new Promise<void>((resolve) => this.queue.push(resolve));
    try {
      while (lane.messages.length > 0 && !this.halted) {
        const later = await this.options.receive(lane.messages[0]!);
        if (later) return this.rest(lane);
        lane.attempts = 0;
        this.done(lane.messages.shift()!);
      }
      if (lane.messages.length === 0) this.lanes.delete(lane.name);
    } catch (error) {
      this.halted = true;
      this.options.onFailure(error);
    } finally {
      const heir = this.queue.shift();
      if (heir) heir();
      else this.working -= 1;
    }
  }

  private rest(lane: Lane): void {
    lane.attempts += 1;
    if (lane.attempts === 1) lane.messages = lane.messages.map(detached);
    if (this.halted) return;
    const { pause = pauseBefore } = this.options;
    lane.rest = setTimeout(() => {
      lane.rest = null;
      void this.run(lane);
    }, pause(lane.attempts)).unref();
  }

  private done({ offset }: KafkaMessage): void {
    const place = BigInt(offset);
    this.bytes -= this.open.get(place)!;
    this.open.delete(place);
    if (this.hasRoom) this.tellRoom();
  }

  private tellRoom(): void {
    const tell = this.onRoom;
    this.onRoom = null;
    tell?.();
  }
}

/** A copy of its own: what was read is a view of everything that was read with it. */
function detached(message: KafkaMessage): KafkaMessage {
  const own = <T>(value: T): T => (Buffer.isBuffer(value) ? (Buffer.from(value) as T) : value);
  const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.map(own) : own(value),
  ]);
  return {
    ...message,
    key: own(message.key),
    value: own(message.value),
    headers: Object.fromEntries(headers) as KafkaMessage['headers'],
  } as KafkaMessage;
}
