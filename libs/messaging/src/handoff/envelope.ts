import { createHash, randomBytes } from 'node:crypto';
import type { Principal } from '#libs/auth';
import { AVRO_NAMESPACE, type MessageKind } from '#libs/contracts';
import type { RawMessage } from './handoff.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const TRACE_ID = /^(?!0{32})[0-9a-f]{32}$/;

export interface EnvelopeOfRow {
  id: string;
  source: string;
  kind: MessageKind;
  traceparent: string | null;
  createdAt: Date;
  /** What the message is about: the task's id. */
  subject: string | null;
}

/** CloudEvents 1.0 in Kafka's binary mode, W3C trace context and the source document's `trace-id`. */
export function envelopeHeaders(row: EnvelopeOfRow): Record<string, string> {
  const headers: Record<string, string> = {
    ce_id: row.id,
    ce_source: `/services/${row.source}`,
    ce_type: `${AVRO_NAMESPACE}.${row.kind}`,
    ce_specversion: '1.0',
    ce_time: row.createdAt.toISOString(),
    'content-type': 'application/avro',
  };
  if (row.subject) headers['ce_subject'] = row.subject;
  if (row.traceparent && TRACEPARENT.test(row.traceparent)) {
    headers['traceparent'] = row.traceparent;
    headers['trace-id'] = row.traceparent.slice(3, 35);
  }
  return headers;
}

/** Bytes of what surrounds a message's value, its framing included. */
export function envelopeBytes(key: string, headers: Record<string, string>): number {
  let bytes = 128 + Buffer.byteLength(key);
  for (const name in headers) bytes += 8 + Buffer.byteLength(name) + Buffer.byteLength(headers[name]!);
  return bytes;
}

/**
 * The message's id: `ce_id` if it is a UUID. CloudEvents allows any text that is unique for its source, so another one is hashed with
 * `ce_source`; without one, the message's place is its id. A claim of whoever sent it: see `inboxId`.
 */
export function messageId(headers: Record<string, string>, place: string): string {
  const { ce_id: id, ce_source: source } = headers;
  if (id && UUID.test(id)) return id.toLowerCase();
  return uuidOf(JSON.stringify(id ? ['ce', source ?? '', id] : ['place', place]));
}

/**
 * What the inbox knows a message by: its id as that of its sender alone, so that nobody can use up the id of somebody else's message.
 * @param sender as the token says; null when nobody knows: then only the very same message at the same place is the same
 */
export function inboxId(
  { id, place }: Pick<RawMessage, 'id' | 'place'>,
  sender: Pick<Principal, 'caller' | 'tenant'> | null,
): string {
  const name = sender ? ['inbox', sender.caller, sender.tenant, id] : ['inbox', place];
  return uuidOf(JSON.stringify(name));
}

/** The sender's trace: `traceparent`, or a new span in the trace that `trace-id` names. */
export function traceparentOf(headers: Record<string, string>): string | null {
  const { traceparent, 'trace-id': traceId } = headers;
  if (traceparent && TRACEPARENT.test(traceparent)) return traceparent;
  return traceId && TRACE_ID.test(traceId) ? `00-${traceId}-${randomBytes(8).toString('hex')}-01` : null;
}

/** A UUID of version 8 (RFC 9562) made of a SHA-256. */
function uuidOf(name: string): string {
  const hash = createHash('sha256').update(name).digest().subarray(0, 16);
  hash[6] = (hash[6]! & 0x0f) | 0x80;
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  return hash.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
