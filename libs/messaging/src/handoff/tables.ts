/**
 * DDL of the outbox `messages` and the inbox, for a migration of the schema of a service that hands off.
 * Insert only `id` (or leave it), source, destination, key, kind, body, tenant, user_id, subject_token, scopes (separated by spaces) and
 * traceparent.
 */
export const handoffTables = (schema: string): string => `
  create table ${schema}.messages (
    id uuid primary key default gen_random_uuid(),
    seq bigint generated always as identity,
    -- The service that sends: agents share a schema, and each publishes its own with its own token.
    source text not null,
    destination text not null,
    key text not null,
    kind text not null,
    body json not null,
    tenant text not null,
    user_id text,
    subject_token text,
    scopes text,
    traceparent text,
    created_at timestamptz not null default now(),
    -- Until then it waits for another try, or its consumer has it.
    due_at timestamptz not null default now(),
    -- It lies in the queue of its recipient (BullMQ alone).
    under_way boolean not null default false
  ) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
  create index messages_order on ${schema}.messages (source, destination, key, seq);
  create index messages_waiting on ${schema}.messages (source, seq) where not under_way;
  create index messages_under_way on ${schema}.messages (source, due_at) where under_way;

  create table ${schema}.inbox (
    consumer text not null,
    message_id uuid not null,
    received_at timestamptz not null default now(),
    primary key (consumer, message_id)
  );
  create index inbox_received on ${schema}.inbox (received_at);
`;

/** DDL for a migration of a schema whose `handoffTables` were made before there was `under_way`; elsewhere it changes nothing. */
export const underWayColumn = (schema: string): string => `
  alter table ${schema}.messages add column if not exists under_way boolean not null default false;
  create index if not exists messages_waiting on ${schema}.messages (source, seq) where not under_way;
  create index if not exists messages_under_way on ${schema}.messages (source, due_at) where under_way;
  drop index if exists ${schema}.messages_next;
`;

/** DDL of the table by which the relays of one service take turns, for a migration after `handoffTables`. */
export const relayTable = (schema: string): string => `
  create table ${schema}.relays (source text primary key, holder uuid not null, until timestamptz not null) with (fillfactor = 50);
`;
