import { RetryableError } from '#libs/contracts';
import { Batcher } from './batcher.js';

/** A writer that answers when the test says so. */
function gatedWriter() {
  const batches: number[][] = [];
  const open: Array<(answer?: Error) => void> = [];
  const write = (items: number[]) => {
    batches.push(items);
    return new Promise<number[]>((resolve, reject) =>
      open.push((answer) => (answer ? reject(answer) : resolve(items.map((item) => item * 10)))),
    );
  };
  const answer = async (with_?: Error) => {
    while (open.length === 0) await new Promise(setImmediate);
    open.shift()!(with_);
    await new Promise(setImmediate);
  };
  return { batches, write, answer };
}

describe('group commit', () => {
  it('gathers what arrives together, and during a write what the next one takes', async () => {
    const { batches, write, answer } = gatedWriter();
    const batcher = new Batcher(write);
    const first = [batcher.add(1), batcher.add(2)];
    await new Promise(setImmediate);
    const second = [batcher.add(3), batcher.add(4), batcher.add(5)];
    await answer();
    await answer();
    expect(await Promise.all([...first, ...second])).toEqual([10, 20, 30, 40, 50]);
    expect(batches).toEqual([
      [1, 2],
      [3, 4, 5],
    ]);
  });

  it('never writes two batches at once', async () => {
    let writing = 0;
    const batcher = new Batcher(async (items: number[]) => {
      expect((writing += 1)).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 2));
      writing -= 1;
      return items;
    });
    const answers: Array<Promise<number>> = [];
    for (let i = 0; i < 200; i += 1) {
      answers.push(batcher.add(i));
      if (i % 10 === 0) await new Promise(setImmediate);
    }
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 200 }, (_, i) => i));
  });

  it('bounds a batch', async () => {
    const sizes: number[] = [];
    const batcher = new Batcher(async (items: number[]) => {
      sizes.push(items.length);
      return items;
    }, 4);
    await Promise.all(Array.from({ length: 10 }, (_, i) => batcher.add(i)));
    expect(sizes).toEqual([4, 4, 2]);
  });

  it('goes on after it was idle', async () => {
    const batcher = new Batcher(async (items: number[]) => items);
    expect(await batcher.add(1)).toBe(1);
    expect(await batcher.add(2)).toBe(2);
  });
});

describe('a batch that fails', () => {
  const outcomes = async (work: Array<Promise<unknown>>) =>
    (await Promise.allSettled(work)).map((one) =>
      one.status === 'fulfilled' ? one.value : (one.reason as Error).message,
    );

  it('for one bad item harms its caller only', async () => {
    const batches: number[][] = [];
    const batcher = new Batcher(async (items: number[]) => {
      batches.push(items);
      if (items.includes(2)) throw new Error('2 is bad');
      return items;
    });
    expect(await outcomes([1, 2, 3].map((item) => batcher.add(item)))).toEqual([1, '2 is bad', 3]);
    expect(batches).toEqual([[1, 2, 3], [1], [2], [3]]);
  });

  it('because the database is away fails as a whole, without a try per item', async () => {
    let writes = 0;
    const batcher = new Batcher<number, number>(async () => {
      writes += 1;
      throw new RetryableError('database-unavailable', 'away');
    });
    expect(await outcomes([1, 2, 3].map((item) => batcher.add(item)))).toEqual(['away', 'away', 'away']);
    expect(writes).toBe(1);
  });

  it('does not hold up the next one', async () => {
    const { write, answer } = gatedWriter();
    const batcher = new Batcher(write);
    const lost = batcher.add(1);
    await new Promise(setImmediate);
    const next = batcher.add(2);
    const refused = lost.catch((error: unknown) => error);
    await answer(new Error('broken'));
    await answer();
    expect(await refused).toMatchObject({ message: 'broken' });
    expect(await next).toBe(20);
  });

  it("because its writer lost an answer resolves nobody with another's", async () => {
    const batcher = new Batcher(async (items: number[]) => (items.length > 1 ? items.slice(1) : items));
    expect(await outcomes([1, 2].map((item) => batcher.add(item)))).toEqual([1, 2]);
  });
});
