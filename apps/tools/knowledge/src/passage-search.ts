import { Inject, Injectable } from '@nestjs/common';
import { EMBEDDER, type Embedder } from '#libs/llm';
import { relaxedQuery } from './lexical-query.js';
import { PassageRepository, type Hit } from './passages.repository.js';
import { visibleTo } from './tenants.js';
import { VectorIndex } from './vector-index.js';

/** A found passage as the model sees it. */
export interface FoundPassage {
  title: string;
  path: string;
  heading: string;
  text: string;
  /** 0 to 1; comparable within one answer only. */
  score: number;
}

/** The two ways of finding passages among a tenant's own and the shared documents. */
@Injectable()
export class PassageSearch {
  constructor(
    @Inject(PassageRepository) private readonly passages: PassageRepository,
    @Inject(VectorIndex) private readonly vectors: VectorIndex,
    @Inject(EMBEDDER) private readonly embedder: Embedder,
  ) {}

  /** Passages with all of the words, filled up with those that have the most telling ones. */
  async byWords(tenant: string, question: string, limit: number): Promise<FoundPassage[]> {
    const tenants = visibleTo(tenant);
    const all = await this.passages.matchAll(tenants, question, limit);
    const relaxed = relaxedQuery(question);
    if (all.length >= limit || relaxed.terms.length === 0) return this.describe(all);
    const known = new Set(all.map(({ id }) => id));
    const any = await this.passages.matchAny(tenants, relaxed, limit);
    const hits = [...all, ...any.filter(({ id }) => !known.has(id))];
    return this.describe(hits.sort((a, b) => b.score - a.score).slice(0, limit));
  }

  /** @throws as `Embedder.embed` does. */
  async byNearness(
    tenant: string,
    question: string,
    limit: number,
    signal: AbortSignal,
  ): Promise<FoundPassage[]> {
    const [vector] = await this.embedder.embed([question], signal);
    return this.describe(await this.vectors.nearest(visibleTo(tenant), vector!, limit));
  }

  private async describe(hits: Hit[]): Promise<FoundPassage[]> {
    if (hits.length === 0) return [];
    const texts = new Map(
      (await this.passages.describe(hits.map(({ id }) => id))).map((row) => [row.id, row]),
    );
    return hits.flatMap(({ id, score }) => {
      const found = texts.get(id);
      if (!found) return [];
      const { title, path, heading, text } = found;
      return [{ title, path, heading, text, score: Math.round(score * 10_000) / 10_000 }];
    });
  }
}
