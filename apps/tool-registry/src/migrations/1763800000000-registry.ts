import type { MigrationInterface, QueryRunner } from 'typeorm';

export class Registry1763800000000 implements MigrationInterface {
  name = 'Registry1763800000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create sequence registry.tool_revision`);
    await runner.query(`
      create table registry.tools (
        name text not null,
        version text not null,
        owner text not null,
        hash text not null,
        definition json not null,
        revision bigint not null default nextval('registry.tool_revision'),
        registered_at timestamptz not null default now(),
        primary key (name, version)
      )`);
    await runner.query(`create index tools_revision on registry.tools (revision)`);
    await runner.query(`
      create table registry.effects (
        tenant text not null,
        caller text not null,
        key text not null,
        tool text not null,
        version text not null,
        arguments_hash text not null,
        state text not null check (state in ('started', 'done', 'unknown')),
        attempt integer not null,
        deadline timestamptz not null,
        outcome json,
        started_at timestamptz not null default now(),
        finished_at timestamptz,
        primary key (tenant, caller, key)
      )`);
    await runner.query(`create index effects_started_at on registry.effects (started_at)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table registry.effects`);
    await runner.query(`drop table registry.tools`);
    await runner.query(`drop sequence registry.tool_revision`);
  }
}
