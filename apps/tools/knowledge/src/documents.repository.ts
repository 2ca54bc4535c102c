import { Inject, Injectable } from '@nestjs/common';
import { TerminalError } from '#libs/contracts';
import { Database, type Query } from '#libs/database';
import type { Passage } from './passages.js';

export interface NewDocument {
  tenant: string;
  path: string;
  title: string;
  sha256: string;
  /** Bytes of its text in UTF-8. */
  bytes: number;
  passages: Passage[];
}

export interface DocumentRow {
  tenant: string;
  path: string;
  title: string;
  bytes: number;
  passages: number;
  updated_at: Date;
}

/** A place in the list of documents; the list is ordered by path, then tenant. */
export interface DocumentCursor {
  path: string;
  tenant: string;
}

/** Documents and, per tenant, the collection's version that tells caches what they miss. */
@Injectable()
export class DocumentRepository {
  constructor(@Inject(Database) private readonly database: Database) {}

  async sha256Of(tenant: string, path: string): Promise<string | null> {
    const rows = await this.database.query<{ sha256: string }>(
      'select sha256 from knowledge.documents where tenant = $1 and path = $2',
      [tenant, path],
    );
    return rows[0]?.sha256 ?? null;
  }

  /**
   * Puts the document in the place of what was at its path, all in one transaction; answers its id.
   * @throws TerminalError 409 `knowledge-full` when the tenant would hold more than `maxPassages`.
   */
  replace(document: NewDocument, maxPassages: number): Promise<string> {
    return this.database.transaction(async (query) => {
      const version = await bumpVersion(query, document.tenant);
      const before = await passagesOf(query, document.tenant, document.path);
      const [row] = await query<{ id: string }>(
        `insert into knowledge.documents (tenant, path, title, sha256, bytes, passages, revision)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant, path) do update set title = excluded.title, sha256 = excluded.sha256, bytes = excluded.bytes,
           passages = excluded.passages, revision = excluded.revision, updated_at = now()
         returning id`,
        [
          document.tenant,
          document.path,
          document.title,
          document.sha256,
          document.bytes,
          document.passages.length,
          version,
        ],
      );
      await query('delete from knowledge.passages where document_id = $1', [row!.id]);
      await insertPassages(query, row!.id, document);
      const total = await resize(query, document.tenant, document.passages.length - before);
      if (total > maxPassages)
        throw new TerminalError(
          'knowledge-full',
          `The tenant's documents may have ${maxPassages} passages; delete some first`,
          {
            status: 409,
          },
        );
      return row!.id;
    });
  }

  /** False when there is no such document. */
  remove(tenant: string, path: string): Promise<boolean> {
    return this.database.transaction(async (query) => {
      const [known] = await query('select from knowledge.documents where tenant = $1 and path = $2', [
        tenant,
        path,
      ]);
      if (!known) return false;
      await bumpVersion(query, tenant);
      const removed = await query<{ passages: number }>(
        'delete from knowledge.documents where tenant = $1 and path = $2 returning passages',
        [tenant, path],
      );
      if (removed.length > 0) await resize(query, tenant, -removed[0]!.passages);
      return removed.length > 0;
    });
  }

  page(tenants: string[], after: DocumentCursor | null, limit: number): Promise<DocumentRow[]> {
    return this.database.query<DocumentRow>(
      `select tenant, path, title, bytes, passages, updated_at from knowledge.documents
       where tenant = any($1) and ($2::text is null or (path, tenant) > ($2 collate "C", $3))
       order by path, tenant limit $4`,
      [tenants, after?.path ?? null, after?.tenant ?? null, limit],
    );
  }

  /** The collections' versions; a tenant without documents is absent. */
  async versions(tenants: string[]): Promise<Map<string, number>> {
    const rows = await this.database.query<{ tenant: string; version: string }>(
      {
        name: 'knowledge-versions',
        text: 'select tenant, version from knowledge.collections where tenant = any($1)',
      },
      [tenants],
    );
    return new Map(rows.map(({ tenant, version }) => [tenant, Number(version)]));
  }

  /** The tenant's documents with the versions at which they last changed. */
  revisions(tenant: string): Promise<Array<{ id: string; revision: string; passages: number }>> {
    return this.database.query('select id, revision, passages from knowledge.documents where tenant = $1', [
      tenant,
    ]);
  }
}

/** Also locks the collection: changes of one tenant's documents come one after the other. */
export async function bumpVersion(query: Query, tenant: string): Promise<string> {
  const [row] = await query<{ version: string }>(
    `insert into knowledge.collections (tenant, version) values ($1, 1)
     on conflict (tenant) do update set version = collections.version + 1 returning version`,
    [tenant],
  );
  return row!.version;
}

async function resize(query: Query, tenant: string, difference: number): Promise<number> {
  const [row] = await query<{ passages: number }>(
    'update knowledge.collections set passages = passages + $2 where tenant = $1 returning passages',
    [tenant, difference],
  );
  return row!.passages;
}

async function passagesOf(query: Query, tenant: string, path: string): Promise<number> {
  const [row] = await query<{ passages: number }>(
    'select passages from knowledge.documents where tenant = $1 and path = $2',
    [tenant, path],
  );
  return row?.passages ?? 0;
}

async function insertPassages(
  query: Query,
  documentId: string,
  { tenant, title, passages }: NewDocument,
): Promise<void> {
  await query(
    `insert into knowledge.passages (document_id, position, tenant, title, heading, body)
     select $1, position, $2, $3, heading, body
     from unnest($4::text[], $5::text[]) with ordinality as part (heading, body, position)`,
    [documentId, tenant, title, passages.map(({ heading }) => heading), passages.map(({ text }) => text)],
  );
}
