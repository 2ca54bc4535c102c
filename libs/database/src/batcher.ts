import { BatonError } from '#libs/contracts';

interface Waiting<In, Out> {
  item: In;
  resolve: (result: Out) => void;
  reject: (error: unknown) => void;
}

/**
 * Group commit: while one write is under way, the next gathers; what gathered becomes one statement and one commit.
 * `write` gets 1 to `max` items and returns their results in the same order. When a batch fails for a reason that is not
 * the database's absence, its items are written one by one, so that a bad item harms only its own caller.
 */
export class Batcher<In, Out> {
  private waiting: Array<Waiting<In, Out>> = [];
  private writing = false;

  constructor(
    private readonly write: (items: In[]) => Promise<Out[]>,
    private readonly max = 256,
  ) {}

  add(item: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      if (this.writing) return;
      this.writing = true;
      setImmediate(() => void this.drain());
    });
  }

  private async drain(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.waiting.splice(0, this.max);
      await this.writeBatch(batch);
    }
    this.writing = false;
  }

  private async writeBatch(batch: Array<Waiting<In, Out>>): Promise<void> {
    try {
      const results = await this.write(batch.map(({ item }) => item));
      if (results.length !== batch.length) throw new Error('a batch writer must return one result per item');
      batch.forEach(({ resolve }, i) => resolve(results[i]!));
    } catch (error) {
      const away = error instanceof BatonError && error.retryable;
      if (batch.length === 1 || away) for (const { reject } of batch) reject(error);
      else for (const one of batch) await this.writeBatch([one]);
    }
  }
}
