import { featureHash } from './feature-hash.js';

/** Injection token of the `Embedder` port. */
export const EMBEDDER = Symbol('Embedder');

/** Turns texts into vectors of length 1. Vectors of different `name`s must never be compared. */
export interface Embedder {
  /** Stable name of the vector space, e.g. `feature-hash-v1-384`; store it with the vectors. */
  readonly name: string;
  /** True when nearness means shared words only. */
  readonly lexical: boolean;
  /** One vector per text, in their order. @throws as `Llm` does. */
  embed(texts: string[], signal?: AbortSignal): Promise<Float32Array[]>;
}

/** `featureHash` as an `Embedder`: local, free, instant, lexical overlap only. */
export class HashEmbedder implements Embedder {
  readonly name: string;
  readonly lexical = true;

  constructor(private readonly dimensions = 384) {
    this.name = `feature-hash-v1-${dimensions}`;
  }

  embed(texts: string[]): Promise<Float32Array[]> {
    return Promise.resolve(texts.map((text) => featureHash(text, this.dimensions)));
  }
}
