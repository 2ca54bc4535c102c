import type { OnApplicationShutdown } from '@nestjs/common';
import { RetryableError } from '#libs/contracts';
import type { Embedder } from './embedding.js';
import { connectOpenAi, type OpenAiConnection, type OpenAiEndpoint } from './openai-client.js';
import { modelError, unavailable } from './openai-errors.js';

const BATCH_TEXTS = 128;
const BATCH_TIMEOUT_MS = 30_000;

/** Embeddings of any OpenAI-compatible API: 128 texts a request, one request at a time, 30 s each. */
export class OpenAiEmbedder implements Embedder, OnApplicationShutdown {
  readonly name: string;
  readonly lexical = false;
  private readonly connection: OpenAiConnection;

  constructor(private readonly options: OpenAiEndpoint & { model: string }) {
    this.name = `openai-${options.model}`;
    this.connection = connectOpenAi(options);
  }

  async embed(texts: string[], signal?: AbortSignal): Promise<Float32Array[]> {
    const vectors: Float32Array[] = [];
    for (let at = 0; at < texts.length; at += BATCH_TEXTS)
      vectors.push(...(await this.embedBatch(texts.slice(at, at + BATCH_TEXTS), signal)));
    return vectors;
  }

  onApplicationShutdown(): Promise<void> {
    return this.connection.close();
  }

  private async embedBatch(texts: string[], outer: AbortSignal | undefined): Promise<Float32Array[]> {
    const timeout = AbortSignal.timeout(BATCH_TIMEOUT_MS);
    const signal = outer ? AbortSignal.any([outer, timeout]) : timeout;
    try {
      const { data } = await this.connection.client.embeddings.create(
        // An API refuses empty texts, of which a file may have some.
        { model: this.options.model, input: texts.map((text) => text || ' ') },
        { signal, timeout: BATCH_TIMEOUT_MS + 1_000 },
      );
      if (data.length !== texts.length) throw unavailable('The embeddings API left out a text');
      return [...data].sort((a, b) => a.index - b.index).map(({ embedding }) => Float32Array.from(embedding));
    } catch (error) {
      if (outer?.aborted) throw outer.reason;
      if (timeout.aborted)
        throw new RetryableError('model_timeout', 'The embeddings API did not answer in time', {
          status: 504,
        });
      throw modelError(error);
    }
  }
}
