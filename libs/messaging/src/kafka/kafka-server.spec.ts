import { setImmediate as tick } from 'node:timers/promises';
import kafkajs, { type Consumer, type EachBatchPayload, type Kafka, type KafkaMessage } from 'kafkajs';
import { pino } from 'pino';
import { RetryableError } from '#libs/contracts';
import { KafkaHandoffServer, type KafkaServerOptions } from './kafka-server.js';

const TOPIC = 'agent.tasks.test';
const later = new RetryableError('later', 'later');

/** What kafkajs does with a server, one call at a time: its races can be had in any order. */
class FakeConsumer {
  readonly events = {
    GROUP_JOIN: 'join',
    REBALANCING: 'rebalancing',
    STOP: 'stop',
    DISCONNECT: 'disconnect',
    CRASH: 'crash',
  };
  readonly listeners = new Map<string, () => void>();
  readonly seeks: string[] = [];
  readonly paused: unknown[] = [];
  readonly resumed: unknown[] = [];
  running = true;
  eachBatch!: (payload: EachBatchPayload) => Promise<void>;

  on(event: string, listener: () => void) {
    this.listeners.set(event, listener);
  }
  emit(event: string) {
    this.listeners.get(event)!();
  }
  async connect() {}
  async disconnect() {}
  async stop() {}
  async subscribe() {}
  async run({ eachBatch }: { eachBatch: FakeConsumer['eachBatch'] }) {
    this.eachBatch = eachBatch;
  }
  seek({ offset }: { offset: string }) {
    this.seeks.push(offset);
  }
  pause(topics: unknown) {
    this.paused.push(topics);
  }
  resume(topics: unknown) {
    // As kafkajs does.
    if (!this.running)
      throw new Error('Consumer group was not initialized, consumer#run must be called first');
    this.resumed.push(topics);
  }
}

let consumer: FakeConsumer;
let server: KafkaHandoffServer;
let handled: string[];
let outcome: (offset: string) => Promise<RetryableError | null>;
const crashes: unknown[] = [];

beforeEach(async () => {
  consumer = new FakeConsumer();
  handled = [];
  outcome = async () => null;
  server = new KafkaHandoffServer({
    kafka: { consumer: () => consumer as unknown as Consumer } as unknown as Kafka,
    group: 'test',
    handoff: { prepare: async () => undefined },
    receiver: {
      receive: ({ offset }: { offset: string }) => {
        handled.push(offset);
        return outcome(offset);
      },
    },
    onPoison: async () => undefined,
    onCrash: (error: unknown) => void crashes.push(error),
    logger: pino({ level: 'silent' }),
  } as unknown as KafkaServerOptions);
  server.addHandler(TOPIC, async () => undefined, true);
  await server.start(() => undefined);
  consumer.emit('join');
});
afterEach(async () => {
  await server.close();
  if (crashes.length > 0) throw new Error(`the process would have ended: ${String(crashes)}`);
});

/** Messages of a key each. */
function batch(from: number, count: number, heartbeat = async () => undefined): Promise<void> {
  const messages = Array.from(
    { length: count },
    (_, i) =>
      ({
        offset: String(from + i),
        key: Buffer.from(`k${from + i}`),
        value: Buffer.alloc(0),
        headers: {},
        timestamp: '0',
      }) as unknown as KafkaMessage,
  );
  const payload = {
    batch: { topic: TOPIC, partition: 0, messages },
    heartbeat,
    commitOffsetsIfNecessary: async () => undefined,
  };
  return consumer.eachBatch(payload as unknown as EachBatchPayload);
}

describe('a consumer', () => {
  it('whose group ends while a partition is full goes on with the next', async () => {
    outcome = async () => later;
    await batch(0, 1000);
    expect(consumer.paused).toHaveLength(1);
    consumer.running = false;
    consumer.emit('stop');
    await tick();
    await tick();

    consumer.running = true;
    outcome = async () => null;
    consumer.emit('join');
    await batch(0, 2);
    expect(handled.slice(1000)).toEqual(['0', '1']);
  });

  it('that is set back, as the log was cut, reads again what comes then', async () => {
    await batch(0, 100);
    await batch(0, 95);
    await batch(95, 5);
    expect(handled.slice(100)).toEqual(Array.from({ length: 100 }, (_, i) => String(i)));
  });

  it('that reads a part again still does what waits before it', async () => {
    outcome = async (offset) => (offset === '5' ? later : null);
    await batch(0, 10);
    await batch(8, 4);
    expect(consumer.seeks).toEqual(['5']);
    outcome = async () => null;
    await batch(5, 7);
    expect(handled.slice(10)).toEqual(['5', '6', '7', '8', '9', '10', '11']);
  });

  it('that comes back late to a batch of its former assignment leaves the new one alone', async () => {
    let release!: () => void;
    const held = new Promise<null>((resolve) => (release = () => resolve(null)));
    outcome = () => held;
    const former = batch(0, 1, async () => {
      throw new kafkajs.KafkaJSError('rebalancing');
    });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    consumer.emit('join');
    outcome = async () => later;
    await batch(0, 1);
    release();
    await former.catch(() => undefined);
    expect(consumer.seeks).toEqual([]);
    await batch(1, 1);
    expect(handled).toEqual(['0', '0', '1']);
  });
});
