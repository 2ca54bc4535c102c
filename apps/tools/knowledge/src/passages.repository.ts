import { Inject, Injectable } from '@nestjs/common';
import { Database } from '#libs/database';
import { bumpVersion } from './documents.repository.js';
import type { RelaxedQuery } from './lexical-query.js';

/** A passage and how well it answers, 0 to 1; scores of different searches are not comparable. */
export interface Hit {
  id: string;
  score: number;
}

export interface PassageText {
  id: string;
  title: string;
  path: string;
  heading: string;
  text: string;
}

export interface StoredVector {
  document_id: string;
  passage_id: string;
  vector: Buffer;
}

/** Weights of body text without class, body, heading and title, in the order that `ts_rank_cd` wants. */
const WEIGHTS = `'{0.1, 0.3, 1.0, 0.6}'::real[]`;
/** Divide by 1 + log(length); map to 0..1. */
const NORMALISATION = 1 | 32;
/** How much of a score is which share of the question's words was found; the rest is their closeness and frequency. */
const COVERAGE_SHARE = 0.7;

@Injectable()
export class PassageRepository {
  constructor(@Inject(Database) private readonly database: Database) {}

  /** Passages with every word of `question`; its quotes, `or` and `-` are understood, and nothing in it is a syntax error. */
  matchAll(tenants: string[], question: string, limit: number): Promise<Hit[]> {
    return this.database.query<Hit>(
      `select p.id, ${COVERAGE_SHARE} + ${1 - COVERAGE_SHARE} * ts_rank_cd(${WEIGHTS}, p.search, q, ${NORMALISATION}) as score
       from knowledge.passages p, websearch_to_tsquery('english', $2) q
       where p.tenant = any($1) and p.search @@ q
       order by score desc, p.id limit $3`,
      [tenants, question, limit],
    );
  }

  /**
   * Passages with any of the terms. What counts most is which of the terms a passage has, each weighted by how rare it is
   * among the tenants' passages (inverse document frequency, which Postgres' own rank does not know).
   */
  matchAny(tenants: string[], { terms, excluded }: RelaxedQuery, limit: number): Promise<Hit[]> {
    return this.database.query<Hit>(
      `with terms as (
         select distinct q from unnest($2::text[]) as term, to_tsquery('english', term) as q where numnode(q) > 0
       ), matches as (
         select p.id, t.q from terms t join knowledge.passages p on p.search @@ t.q
         where p.tenant = any($1) and not p.search @@ to_tsquery('english', $3)
       ), weights as (
         select t.q, ln(1 + (select sum(passages) from knowledge.collections where tenant = any($1))
                          / greatest(count(m.id), 0.5)) as weight
         from terms t left join matches m on m.q = t.q group by t.q
       ), covered as (
         select m.id, sum(w.weight) / (select sum(weight) from weights) as coverage
         from matches m join weights w on w.q = m.q group by m.id
         order by coverage desc, m.id limit 10 * $4::int
       )
       select p.id, (${COVERAGE_SHARE} * c.coverage + ${1 - COVERAGE_SHARE}
                * ts_rank_cd(${WEIGHTS}, p.search, to_tsquery('english', $5), ${NORMALISATION}))::float8 as score
       from covered c join knowledge.passages p on p.id = c.id
       order by score desc, p.id limit $4`,
      [tenants, terms, excluded.join(' | '), limit, terms.join(' | ')],
    );
  }

  /** The texts of these passages as far as they still exist, in no order. */
  describe(ids: string[]): Promise<PassageText[]> {
    return this.database.query<PassageText>(
      `select p.id, p.title, d.path, p.heading, p.body as text
       from knowledge.passages p join knowledge.documents d on d.id = p.document_id where p.id = any($1::bigint[])`,
      [ids],
    );
  }

  /** Passages that `embedder` has not embedded yet, of one document or (null) of all, in the order of their ids. */
  missingVectors(embedder: string, documentId: string | null, after: string, limit: number) {
    return this.database.query<{ id: string; heading: string; body: string }>(
      `select p.id, p.heading, p.body from knowledge.passages p
       where p.id > $3 and ($2::bigint is null or p.document_id = $2)
         and not exists (select from knowledge.vectors v where v.passage_id = p.id and v.embedder = $1)
       order by p.id limit $4`,
      [embedder, documentId, after, limit],
    );
  }

  /** Passages that were replaced meanwhile are left out. */
  saveVectors(embedder: string, vectors: Array<{ passageId: string; vector: Buffer }>): Promise<void> {
    return this.database.transaction(async (query) => {
      const ids = vectors.map(({ passageId }) => passageId);
      const tenants = await query<{ tenant: string }>(
        'select distinct tenant from knowledge.passages where id = any($1::bigint[]) order by tenant',
        [ids],
      );
      for (const { tenant } of tenants) {
        const version = await bumpVersion(query, tenant);
        await query(
          `with saved as (
             insert into knowledge.vectors (passage_id, embedder, vector)
             select p.id, $2, given.vector
             from unnest($3::bigint[], $4::bytea[]) as given (id, vector) join knowledge.passages p on p.id = given.id
             where p.tenant = $1
             on conflict do nothing returning passage_id
           )
           update knowledge.documents set revision = $5 where id in (
             select p.document_id from saved join knowledge.passages p on p.id = saved.passage_id)`,
          [tenant, embedder, ids, vectors.map(({ vector }) => vector), version],
        );
      }
    });
  }

  vectorsOf(embedder: string, documentIds: string[]): Promise<StoredVector[]> {
    return this.database.query<StoredVector>(
      `select p.document_id, v.passage_id, v.vector
       from knowledge.passages p join knowledge.vectors v on v.passage_id = p.id
       where v.embedder = $1 and p.document_id = any($2::bigint[])`,
      [embedder, documentIds],
    );
  }
}
