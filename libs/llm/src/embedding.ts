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

/** Cosine similarity, −1 to 1; 0 when a vector is zero. @throws RangeError when the dimensions differ. */
export function cosine(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new RangeError(`Vectors of ${a.length} and ${b.length} dimensions`);
  let dot = 0;
  let squareA = 0;
  let squareB = 0;
  for (let at = 0; at < a.length; at += 1) {
    const x = a[at]!;
    const y = b[at]!;
    dot += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  return squareA === 0 || squareB === 0 ? 0 : dot / Math.sqrt(squareA * squareB);
}
