/**
 * DDL of the outbox `messages` and the inbox, for a migration of the schema of a service that hands off.
 * Insert only `id` (or leave it), destination, key, kind, body, tenant, user_id, subject_token, scopes (separated by spaces) and
 * traceparent.
 */
export const handoffTables = (schema: string): string => `
  create table ${schema}.messages (
    id uuid primary key default gen_random_uuid(),
    seq bigint generated always as identity,
    destination text not null,
    key text not null,
    kind text not null,
    body json not null,
    tenant text not null,
    user_id text,
    subject_token text,
    scopes text,
    traceparent text,
    due_at timestamptz not null default now()
  );
  create index messages_order on ${schema}.messages (destination, key, seq);
  create index messages_next on ${schema}.messages (seq);

  create table ${schema}.inbox (
    consumer text not null,
    message_id uuid not null,
    received_at timestamptz not null default now(),
    primary key (consumer, message_id)
  );
  create index inbox_received on ${schema}.inbox (received_at);
`;
