import type { MigrationInterface, QueryRunner } from 'typeorm';

export class Knowledge1763900000000 implements MigrationInterface {
  readonly name = 'Knowledge1763900000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- One row per tenant; version rises with every change of what the tenant can find.
      create table knowledge.collections (
        tenant text primary key,
        version bigint not null,
        passages integer not null default 0
      )`);
    await runner.query(`
      create table knowledge.documents (
        id bigint generated always as identity primary key,
        tenant text not null references knowledge.collections,
        path text collate "C" not null,
        title text not null,
        sha256 text not null,
        bytes integer not null,
        passages integer not null,
        -- The collection's version at this document's last change, its vectors included.
        revision bigint not null,
        updated_at timestamptz not null default now(),
        unique (tenant, path)
      )`);
    await runner.query(`
      create table knowledge.passages (
        id bigint generated always as identity primary key,
        document_id bigint not null references knowledge.documents on delete cascade,
        position integer not null,
        tenant text not null,
        title text not null,
        heading text not null,
        body text not null,
        search tsvector not null generated always as (
          setweight(to_tsvector('english', title), 'A') ||
          setweight(to_tsvector('english', heading), 'B') ||
          setweight(to_tsvector('english', body), 'C')) stored,
        unique (document_id, position)
      )`);
    await runner.query('create index passages_search on knowledge.passages using gin (search)');
    await runner.query(`
      -- Vectors of several embedders live side by side, so that old and new instances can run during a change of model.
      create table knowledge.vectors (
        passage_id bigint not null references knowledge.passages on delete cascade,
        embedder text not null,
        vector bytea not null,
        primary key (passage_id, embedder)
      )`);
    await runner.query('alter table knowledge.vectors alter column vector set storage external');
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of ['vectors', 'passages', 'documents', 'collections'])
      await runner.query(`drop table knowledge.${table}`);
  }
}
