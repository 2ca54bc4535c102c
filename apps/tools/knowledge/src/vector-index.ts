import { setImmediate as nextTurn } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { EMBEDDER, type Embedder } from '#libs/llm';
import { DocumentRepository } from './documents.repository.js';
import { PassageRepository, type Hit } from './passages.repository.js';
import { dot, fromBytes, unit } from './vector-bytes.js';

/** Injection token: how many passages' vectors are kept in memory, over all tenants. */
export const CACHED_PASSAGES = Symbol('CachedPassages');

interface DocumentVectors {
  revision: string;
  ids: string[];
  vectors: Float32Array[];
}

interface TenantVectors {
  version: number;
  passages: number;
  documents: Map<string, DocumentVectors>;
}

const LOAD_PASSAGES = 2000;
const TURN_PASSAGES = 5000;
/** Nearer to chance than to the question. */
const MIN_SCORE = 0.05;

/**
 * Exact cosine search over the vectors of whole tenants, kept in memory. Each search asks Postgres for the tenants'
 * versions, one small row each; only documents that changed since are loaded again.
 */
@Injectable()
export class VectorIndex {
  private readonly cache: LRUCache<string, TenantVectors>;
  private readonly loading = new Map<string, Promise<TenantVectors>>();

  constructor(
    @Inject(DocumentRepository) private readonly documents: DocumentRepository,
    @Inject(PassageRepository) private readonly passages: PassageRepository,
    @Inject(EMBEDDER) private readonly embedder: Embedder,
    @Inject(CACHED_PASSAGES) cachedPassages: number,
  ) {
    this.cache = new LRUCache({
      maxSize: cachedPassages,
      sizeCalculation: ({ passages }) => Math.max(1, passages),
    });
  }

  /** The nearest passages of these tenants, best first. */
  async nearest(tenants: string[], question: Float32Array, limit: number): Promise<Hit[]> {
    const wanted = unit(question);
    const best: Hit[] = [];
    for (const [tenant, version] of await this.documents.versions(tenants)) {
      let compared = 0;
      for (const { ids, vectors } of (await this.upToDate(tenant, version)).documents.values()) {
        compared += ids.length;
        if (compared > TURN_PASSAGES) {
          await nextTurn();
          compared = 0;
        }
        vectors.forEach((vector, i) => {
          if (vector.length === wanted.length)
            keepBest(best, { id: ids[i]!, score: dot(vector, wanted) }, limit);
        });
      }
    }
    return best;
  }

  private async upToDate(tenant: string, version: number): Promise<TenantVectors> {
    const known = this.cache.get(tenant);
    if (known && known.version >= version) return known;
    const underWay = this.loading.get(tenant);
    if (underWay) {
      const loaded = await underWay;
      // It may have begun before the change that this search has to see.
      return loaded.version >= version ? loaded : this.upToDate(tenant, version);
    }
    const load = this.load(tenant, known).finally(() => this.loading.delete(tenant));
    this.loading.set(tenant, load);
    return load;
  }

  /** The version is read first: what changes meanwhile is loaded by the next search. */
  private async load(tenant: string, known: TenantVectors | undefined): Promise<TenantVectors> {
    const version = (await this.documents.versions([tenant])).get(tenant) ?? 0;
    const rows = await this.documents.revisions(tenant);
    const documents = new Map<string, DocumentVectors>();
    const changed: typeof rows = [];
    for (const row of rows) {
      const same = known?.documents.get(row.id);
      if (same?.revision === row.revision) documents.set(row.id, same);
      else changed.push(row);
    }
    for (const batch of batchesOf(changed)) {
      for (const { id, revision } of batch) documents.set(id, { revision, ids: [], vectors: [] });
      for (const row of await this.passages.vectorsOf(
        this.embedder.name,
        batch.map(({ id }) => id),
      )) {
        const entry = documents.get(row.document_id)!;
        entry.ids.push(row.passage_id);
        entry.vectors.push(fromBytes(row.vector));
      }
    }
    const loaded = { version, passages: rows.reduce((sum, row) => sum + row.passages, 0), documents };
    this.cache.set(tenant, loaded);
    return loaded;
  }
}

/** Whole documents, about `LOAD_PASSAGES` passages at a time. */
function* batchesOf<T extends { passages: number }>(documents: T[]): Generator<T[]> {
  let batch: T[] = [];
  let passages = 0;
  for (const document of documents) {
    batch.push(document);
    passages += document.passages;
    if (passages < LOAD_PASSAGES) continue;
    yield batch;
    batch = [];
    passages = 0;
  }
  if (batch.length > 0) yield batch;
}

function keepBest(best: Hit[], hit: Hit, limit: number): void {
  if (hit.score < Math.max(MIN_SCORE, best.length < limit ? 0 : best.at(-1)!.score)) return;
  const at = best.findIndex(({ score }) => score < hit.score);
  best.splice(at === -1 ? best.length : at, 0, hit);
  best.length = Math.min(best.length, limit);
}
