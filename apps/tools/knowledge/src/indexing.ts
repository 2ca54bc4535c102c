import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { TerminalError } from '#libs/contracts';
import { DocumentRepository } from './documents.repository.js';
import { PassageEmbedding } from './passage-embedding.js';
import { splitDocument, SPLITTER_VERSION } from './passages.js';

export interface GivenDocument {
  tenant: string;
  path: string;
  /** Default: its first heading, or its file name. */
  title: string | null;
  text: string;
}

export type Indexed =
  | { changed: false }
  /** `embedded`: vector search finds all of it already; otherwise soon. */
  | { changed: true; passages: number; embedded: boolean };

/** Injection token: how many passages the documents of one tenant may have. */
export const TENANT_PASSAGES = Symbol('TenantPassages');

export const DOCUMENT_LIMITS = { bytes: 1_048_576, passages: 5000, pathChars: 512, titleChars: 200 } as const;
const EMBED_WITHIN_MS = 5000;

/** Takes documents in: unchanged ones are recognised by their hash, changed ones replaced as a whole. */
@Injectable()
export class Indexing {
  constructor(
    @Inject(DocumentRepository) private readonly documents: DocumentRepository,
    @Inject(PassageEmbedding) private readonly embedding: PassageEmbedding,
    @Inject(TENANT_PASSAGES) private readonly tenantPassages: number,
  ) {}

  /** @throws TerminalError 413 `payload-too-large`, 409 `knowledge-full`. */
  async put({ tenant, path, title, text }: GivenDocument): Promise<Indexed> {
    const bytes = Buffer.byteLength(text);
    if (bytes > DOCUMENT_LIMITS.bytes)
      throw tooLarge(`A document may have ${DOCUMENT_LIMITS.bytes} bytes of text`);
    const sha256 = createHash('sha256')
      .update(JSON.stringify([SPLITTER_VERSION, title, text]))
      .digest('hex');
    if ((await this.documents.sha256Of(tenant, path)) === sha256) return { changed: false };
    const split = splitDocument(path, text);
    const { passages } = split;
    if (passages.length > DOCUMENT_LIMITS.passages)
      throw tooLarge(
        `A document may have ${DOCUMENT_LIMITS.passages} passages, and this one has more sections than that`,
      );
    const document = { tenant, path, title: title ?? split.title, sha256, bytes, passages };
    const id = await this.documents.replace(document, this.tenantPassages);
    const embedded = await this.embedding.embedDocument(id, EMBED_WITHIN_MS);
    return { changed: true, passages: passages.length, embedded };
  }
}

const tooLarge = (detail: string) => new TerminalError('payload-too-large', detail, { status: 413 });
