import type { MigrationInterface, QueryRunner } from 'typeorm';

export class Identity1764000000000 implements MigrationInterface {
  name = 'Identity1764000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table identity.signing_keys (
        kid text primary key,
        created_no bigint generated always as identity,
        public_jwk json not null,
        private_key bytea not null,
        created_at timestamptz not null default now(),
        signs_from timestamptz
      );
      create unique index signing_keys_next on identity.signing_keys ((true)) where signs_from is null;

      create table identity.tenants (
        id text primary key,
        created_at timestamptz not null default now()
      );

      create table identity.users (
        tenant text not null references identity.tenants,
        id text not null,
        created_at timestamptz not null default now(),
        primary key (tenant, id)
      );

      create table identity.api_keys (
        id text primary key,
        created_no bigint generated always as identity,
        tenant text not null references identity.tenants,
        user_id text,
        name text not null,
        scopes text[] not null,
        secret_hash bytea not null,
        created_by text not null,
        created_at timestamptz not null default now(),
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz,
        foreign key (tenant, user_id) references identity.users (tenant, id)
      );
      create index api_keys_of_tenant on identity.api_keys (tenant, created_no);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(
      'drop table identity.api_keys, identity.users, identity.tenants, identity.signing_keys',
    );
  }
}
