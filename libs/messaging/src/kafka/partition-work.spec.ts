import { setImmediate as tick, setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { KafkaMessage } from 'kafkajs';
import { RetryableError } from '#libs/contracts';
import { PartitionWork, type PartitionOptions } from './partition-work.js';

const message = (key: string | null, offset: number, value = '') =>
  ({
    key: key === null ? null : Buffer.from(key),
    offset: String(offset),
    value: Buffer.from(value),
  }) as KafkaMessage;
const later = new RetryableError('later', 'later');

function workWith(receive: PartitionOptions['receive'], pause = () => 1_000_000) {
  const failures: unknown[] = [];
  const work = new PartitionWork({ receive, pause, onFailure: (error) => failures.push(error) });
  return { work, failures };
}

describe('the work on a partition', () => {
  it('keeps the order of each key, whatever waits, and lets only what is before all that is open be committed', async () => {
    const keys = fc.array(fc.option(fc.constantFrom('a', 'b', 'c'), { nil: null }), {
      minLength: 1,
      maxLength: 30,
    });
    const check = async (names: Array<string | null>, failing: number[], cuts: number, seed: number) => {
      const messages = names.map((key, i) => message(key, i * 2));
      const refused = new Set(failing);
      const done: number[] = [];
      const { work } = workWith(
        async ({ offset }) => {
          const number = Number(offset);
          if ((number + seed) % 3 === 0) await tick();
          if (refused.delete(number / 2)) return later;
          done.push(number);
          return null;
        },
        () => 1,
      );
      for (let i = 0; i < messages.length; i += cuts) {
        await work.add(messages.slice(i, i + cuts));
        const open = messages.slice(0, i + cuts).find(({ offset }) => !done.includes(Number(offset)));
        expect(work.offset).toBe(open?.offset ?? String(2 * Math.min(i + cuts, messages.length) - 1));
      }
      while (done.length < messages.length) await sleep(1);
      expect(new Set(done).size).toBe(messages.length);
      for (const key of ['a', 'b', 'c']) {
        const offsets = done.filter((offset) => names[offset / 2] === key);
        expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
      }
      await tick();
      expect(work.offset).toBe(String(messages.length * 2 - 1));
    };
    await fc.assert(
      fc.asyncProperty(
        keys,
        fc.uniqueArray(fc.nat({ max: 29 }), { maxLength: 3 }),
        fc.integer({ min: 1, max: 30 }),
        fc.nat(),
        check,
      ),
      { numRuns: 200 },
    );
  });

  it('is read past what waits, until that is too much, and again when there is room', async () => {
    let full = true;
    const { work } = workWith(
      async ({ key }) => (full && key?.toString() === 'full' ? later : null),
      () => 20,
    );
    await work.add(Array.from({ length: 999 }, (_, i) => message('full', i)));
    await work.add([message('other', 999)]);
    expect([work.offset, work.hasRoom]).toEqual(['0', true]);
    await work.add([message('full', 1000)]);
    expect(work.hasRoom).toBe(false);
    full = false;
    await new Promise<void>((resolve) => work.whenRoom(resolve));
    expect(work.hasRoom).toBe(true);
  });

  it('holds no more than its bytes either', async () => {
    const { work } = workWith(async () => later);
    await work.add(Array.from({ length: 9 }, (_, i) => message('full', i, 'x'.repeat(1_000_000))));
    expect(work.hasRoom).toBe(false);
  });

  it('knows what it has read', async () => {
    const { work } = workWith(async () => null);
    expect(work.hasRead('0')).toBe(false);
    await work.add([message('a', 3), message('a', 5)]);
    expect(['3', '5', '6'].map((offset) => work.hasRead(offset))).toEqual([true, true, false]);
  });

  it('begins nothing more when it is halted, and finishes what is in hand, which then may be committed', async () => {
    let ended = 0;
    const { work } = workWith(async () => {
      await sleep(100);
      ended += 1;
      return null;
    });
    const added = work.add(['a', 'b', 'a'].map((key, i) => message(key, i)));
    await sleep(20);
    await work.halt();
    expect([ended, work.offset]).toEqual([2, '2']);
    await added;
    await sleep(150);
    expect(ended).toBe(2);
  });

  it('tells what a handler of last resort threw, and lets nothing past it be committed', async () => {
    const bug = new TypeError('bug');
    const { work, failures } = workWith(({ offset }) =>
      offset === '1' ? Promise.reject(bug) : Promise.resolve(null),
    );
    await work.add(['a', 'a', 'a'].map((key, i) => message(key, i)));
    expect([failures, work.offset]).toEqual([[bug], '1']);
  });

  it('works on 64 keys at once', async () => {
    let [inHand, most] = [0, 0];
    const { work } = workWith(async () => {
      most = Math.max(most, (inHand += 1));
      await tick();
      inHand -= 1;
      return null;
    });
    await work.add(Array.from({ length: 500 }, (_, i) => message(`k${i % 250}`, i)));
    expect([most, work.offset]).toEqual([64, '500']);
  });
});
