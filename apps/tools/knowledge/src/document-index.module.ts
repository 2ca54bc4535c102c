import { Module, type DynamicModule } from '@nestjs/common';
import { DocumentsController } from './documents.controller.js';
import { DocumentRepository } from './documents.repository.js';
import { Indexing, TENANT_PASSAGES } from './indexing.js';
import { PassageEmbedding } from './passage-embedding.js';
import { PassageSearch } from './passage-search.js';
import { PassageRepository } from './passages.repository.js';
import { CACHED_PASSAGES, VectorIndex } from './vector-index.js';

export interface DocumentIndexOptions {
  /** How many passages the documents of one tenant may have. */
  tenantPassages: number;
  /** How many passages' vectors are kept in memory, over all tenants. */
  cachedPassages: number;
}

@Module({})
export class DocumentIndexModule {
  static register({ tenantPassages, cachedPassages }: DocumentIndexOptions): DynamicModule {
    return {
      module: DocumentIndexModule,
      controllers: [DocumentsController],
      providers: [
        { provide: TENANT_PASSAGES, useValue: tenantPassages },
        { provide: CACHED_PASSAGES, useValue: cachedPassages },
        DocumentRepository,
        PassageRepository,
        PassageEmbedding,
        VectorIndex,
        PassageSearch,
        Indexing,
      ],
      exports: [PassageSearch],
    };
  }
}
