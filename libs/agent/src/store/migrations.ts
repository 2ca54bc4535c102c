import type { MigrationInterface, QueryRunner } from 'typeorm';
import { handoffTables } from '#libs/messaging';
import { ListedTasks1764460000001 } from './listed-tasks.migration.js';
import { OutboxOrder1764460000000 } from './outbox-order.migration.js';
import { RelayTurns1764200000001 } from './relay-turns.migration.js';
import { SubjectTokens1764000000000 } from './subject-tokens.migration.js';
import { UnderWay1764400000000 } from './under-way.migration.js';
import { UnfinishedTasks1764200000000 } from './unfinished-tasks.migration.js';

export class DurableCore1763900000000 implements MigrationInterface {
  name = 'DurableCore1763900000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table agents.tasks (
        id uuid primary key,
        accepted_no bigint generated always as identity,
        tenant text not null,
        user_id text,
        agent_id text not null,
        session_id text not null,
        idempotency_key text,
        request_hash text not null,
        prompt text not null,
        metadata json not null,
        max_steps int not null,
        token_budget int not null,
        traceparent text,
        created_at timestamptz not null default now(),
        deadline timestamptz not null,
        status text not null default 'pending'
          check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')),
        cancel_requested boolean not null default false,
        started_at timestamptz,
        finished_at timestamptz,
        epoch int not null default 0,
        lease_until timestamptz,
        dispatch_no int not null default 1,
        dispatched_at timestamptz not null default now(),
        crashes int not null default 0,
        crash_seq int not null default 0,
        output text,
        error text,
        error_detail text,
        steps_used int not null default 0,
        tokens_used int not null default 0,
        tool_calls int not null default 0,
        duration_ms int
      ) with (fillfactor = 60);

      create unique index tasks_idempotency on agents.tasks (tenant, idempotency_key) where idempotency_key is not null;
      -- No index knows the status, so that a claim touches none of them (heap-only update, hence the fillfactor).
      create index tasks_active on agents.tasks (tenant, agent_id, session_id, accepted_no) where finished_at is null;
      create index tasks_ended on agents.tasks (agent_id, finished_at) where finished_at is not null;
      create index tasks_newest on agents.tasks (tenant, agent_id, accepted_no);
      create index tasks_of_session on agents.tasks (tenant, session_id, accepted_no);

      create table agents.journal (
        task_id uuid not null,
        seq int not null,
        epoch int not null,
        at timestamptz not null default now(),
        body json not null,
        primary key (task_id, seq)
      );

      create table agents.outbox (
        task_id uuid not null,
        dispatch_no int not null,
        agent_id text not null,
        due_at timestamptz not null,
        primary key (task_id, dispatch_no)
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table agents.outbox, agents.journal, agents.tasks');
  }
}

export class HandOffs1764100000000 implements MigrationInterface {
  name = 'HandOffs1764100000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table agents.tasks
        add column reply_to text,
        add column stream_steps boolean not null default false,
        add column retry_count int not null default 0;
      ${handoffTables('agents')}
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table agents.inbox, agents.messages;
      alter table agents.tasks drop column reply_to, drop column stream_steps, drop column retry_count;
    `);
  }
}

export const MIGRATIONS = [
  DurableCore1763900000000,
  SubjectTokens1764000000000,
  HandOffs1764100000000,
  UnfinishedTasks1764200000000,
  RelayTurns1764200000001,
  UnderWay1764400000000,
  OutboxOrder1764460000000,
  ListedTasks1764460000001,
];
