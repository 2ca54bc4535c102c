import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { KafkaMessage } from 'kafkajs';
import { RetryableError } from '#libs/contracts';
import { workThrough, type BatchOptions } from './batch-work.js';
import { confirm } from './kafka-handoff.js';

const message = (key: string | null, offset: number) =>
  ({ key: key === null ? null : Buffer.from(key), offset: String(offset) }) as KafkaMessage;

function work(messages: KafkaMessage[], options: Partial<BatchOptions>, heartbeat = async () => undefined) {
  const resolved: number[] = [];
  const payload = {
    batch: { messages },
    resolveOffset: (offset: string) => void resolved.push(Number(offset)),
    heartbeat,
    commitOffsetsIfNecessary: async () => undefined,
  };
  const whole = { receive: async () => null, mayGoOn: () => true, ahead: new Set<string>(), ...options };
  return { resolved, result: workThrough(payload as never, whole) };
}

describe('work on a batch', () => {
  it('keeps the order of each key and moves the offset only past what is done', async () => {
    const keys = fc.array(fc.option(fc.constantFrom('a', 'b', 'c'), { nil: null }), {
      minLength: 1,
      maxLength: 30,
    });
    const check = async (names: Array<string | null>, failing: number[], seed: number) => {
      const messages = names.map((key, i) => message(key, i * 2));
      const done: number[] = [];
      const { resolved, result } = work(messages, {
        receive: async ({ offset }) => {
          const number = Number(offset);
          if ((number + seed) % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
          if (failing.includes(number / 2)) return new RetryableError('later', 'later');
          done.push(number);
          return null;
        },
      });
      const { next, ahead, waiting } = await result;
      for (const key of ['a', 'b', 'c']) {
        const offsets = done.filter((offset) => names[offset / 2] === key);
        expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
      }
      const open = names.map((_, i) => i * 2).filter((offset) => !done.includes(offset));
      expect(next).toBe(open.length > 0 ? String(open[0]) : null);
      expect(resolved).toEqual(resolved.toSorted((a, b) => a - b));
      expect(resolved.at(-1) ?? -2).toBe((open[0] ?? names.length * 2) - 2);
      expect([...ahead].map(Number)).toEqual(
        done.filter((offset) => open.length > 0 && offset > open[0]!).toSorted((a, b) => a - b),
      );
      expect(waiting === null).toBe(open.length === 0);
    };
    await fc.assert(
      fc.asyncProperty(keys, fc.uniqueArray(fc.nat({ max: 29 }), { maxLength: 2 }), fc.nat(), check),
      { numRuns: 200 },
    );
  });

  it('does not do again what was done ahead', async () => {
    const seen: string[] = [];
    const messages = [message('a', 1), message('b', 2), message('c', 3)];
    const receive = async ({ offset }: KafkaMessage) => {
      seen.push(offset);
      return null;
    };
    const { resolved, result } = work(messages, { receive, ahead: new Set(['2', '3']) });
    expect(await result).toEqual({ next: null, ahead: new Set(), waiting: null });
    expect([seen, resolved]).toEqual([['1'], [3]]);
  });

  it('begins nothing more when the partition is taken away, and finishes what it has begun', async () => {
    let ended = 0;
    const rebalance = new Error('The group is rebalancing');
    const receive = async () => {
      await sleep(1300);
      ended += 1;
      return null;
    };
    const messages = ['a', 'b', 'a'].map(message);
    const { resolved, result } = work(messages, { receive }, () => Promise.reject(rebalance));
    await expect(result).rejects.toBe(rebalance);
    expect(ended).toBe(2);
    expect(resolved).toEqual([0, 1]);
  });

  it('raises what a handler of last resort threw, and resolves nothing past it', async () => {
    const bug = new TypeError('bug');
    const receive = ({ offset }: KafkaMessage) =>
      offset === '1' ? Promise.reject(bug) : Promise.resolve(null);
    const { resolved, result } = work(['a', 'a', 'a'].map(message), { receive });
    await expect(result).rejects.toBe(bug);
    expect(resolved).toEqual([0]);
  });
});

describe('what Kafka confirmed', () => {
  it('is only what its answer names', () => {
    const stored = [
      { topicName: 't', partition: 0, errorCode: 0 },
      { topicName: 't', partition: 1, errorCode: 7 },
    ];
    const wanted = [0, 1, 2, undefined].map((partition) => ({ topic: 't', partition }));
    expect(confirm(wanted, stored).map((delivery) => delivery === 'delivered')).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });
});
