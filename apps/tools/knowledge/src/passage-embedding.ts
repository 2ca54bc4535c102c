import { Inject, Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { LOGGER } from '#libs/chassis';
import { messageOf, TerminalError } from '#libs/contracts';
import { Database } from '#libs/database';
import { EMBEDDER, type Embedder } from '#libs/llm';
import type { Logger } from '#libs/telemetry';
import { PassageRepository } from './passages.repository.js';
import { toBytes } from './vector-bytes.js';

const BATCH = 64;
const SWEEP_EVERY_MS = 300_000;
const RETRY_AFTER_MS = 30_000;
const refusesEverything = (vectors: unknown[]) =>
  vectors.length >= 2 && vectors.every((vector) => vector === null);

/**
 * Gives every passage its vector: those of a changed document at once as far as the time allows, all others in batches in
 * the background, at the start and every five minutes. So a change of model and an embeddings API that was away heal by
 * themselves, and indexing never depends on them.
 */
@Injectable()
export class PassageEmbedding implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly stopping = new AbortController();
  private timer?: NodeJS.Timeout;
  private sweeping = false;

  constructor(
    @Inject(PassageRepository) private readonly passages: PassageRepository,
    @Inject(EMBEDDER) private readonly embedder: Embedder,
    @Inject(Database) private readonly database: Database,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    void this.database.whenReady.then(() => this.sweepIn(0));
  }

  onModuleDestroy(): void {
    clearTimeout(this.timer);
    this.stopping.abort(new Error('the service stops'));
  }

  /** True when all of the document's passages have their vectors after at most `timeoutMs`; the rest is done later. */
  async embedDocument(documentId: string, timeoutMs: number): Promise<boolean> {
    try {
      const { refused } = await this.embedMissing(
        documentId,
        AbortSignal.any([this.stopping.signal, AbortSignal.timeout(timeoutMs)]),
      );
      return refused === 0;
    } catch (error) {
      this.logger.warn({ err: messageOf(error) }, 'passages are embedded later');
      this.sweepIn(RETRY_AFTER_MS);
      return false;
    }
  }

  private sweepIn(ms: number): void {
    if (this.stopping.signal.aborted || this.sweeping) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.sweep(), ms).unref();
  }

  private async sweep(): Promise<void> {
    this.sweeping = true;
    let next = SWEEP_EVERY_MS;
    try {
      const { embedded, refused } = await this.embedMissing(null, this.stopping.signal);
      if (embedded > 0)
        this.logger.info({ passages: embedded, embedder: this.embedder.name }, 'passages embedded');
      if (refused > 0)
        this.logger.warn(
          { passages: refused, embedder: this.embedder.name },
          'passages refused by the model',
        );
    } catch (error) {
      next = RETRY_AFTER_MS;
      if (!this.stopping.signal.aborted)
        this.logger.warn({ err: messageOf(error) }, 'passages are embedded later');
    }
    this.sweeping = false;
    this.sweepIn(next);
  }

  /** How many passages got their vectors, and how many the model refused. */
  private async embedMissing(documentId: string | null, signal: AbortSignal) {
    const count = { embedded: 0, refused: 0 };
    for (let after = '0'; ;) {
      signal.throwIfAborted();
      const batch = await this.passages.missingVectors(this.embedder.name, documentId, after, BATCH);
      if (batch.length === 0) return count;
      const vectors = await this.embedBatch(
        batch.map(({ heading, body }) => `${heading}\n${body}`),
        signal,
      );
      const made = batch.flatMap(({ id }, i) => {
        const vector = vectors[i];
        return vector ? [{ passageId: id, vector: toBytes(vector) }] : [];
      });
      await this.passages.saveVectors(this.embedder.name, made);
      count.embedded += made.length;
      count.refused += batch.length - made.length;
      after = batch.at(-1)!.id;
    }
  }

  /** A text that the model refuses, being too long for it for instance, gets null and harms no other. */
  private async embedBatch(texts: string[], signal: AbortSignal): Promise<Array<Float32Array | null>> {
    try {
      return await this.embedder.embed(texts, signal);
    } catch (error) {
      if (!(error instanceof TerminalError)) throw error;
    }
    const vectors: Array<Float32Array | null> = [];
    for (const text of texts) {
      const [vector] = await this.embedder.embed([text], signal).catch((error: unknown) => {
        // When the first ones are all refused it is not for their texts.
        if (!(error instanceof TerminalError) || refusesEverything(vectors)) throw error;
        return [null];
      });
      vectors.push(vector ?? null);
    }
    return vectors;
  }
}
