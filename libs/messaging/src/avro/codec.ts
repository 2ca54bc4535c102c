import type { Type } from 'avsc';
import {
  kindsOf,
  messageOf,
  TerminalError,
  type FieldError,
  type MessageBodies,
  type MessageKind,
} from '#libs/contracts';
import type { RegistrySchemas } from './registry.js';
import { messageSchemas, recordName, type MessageSchema } from './schemas.js';
import { readAvro } from './strict-tap.js';

/** Bytes of a message's value, either way. */
export const MAX_MESSAGE_BYTES = 1_048_576;
/** What key and headers may add to it. */
export const HEADROOM_BYTES = 65_536;
const MAGIC = 0;
const HEADER_BYTES = 5;
/** Header that names the schema where no registry gives it an id: SHA-256 of its canonical form. */
export const FINGERPRINT_HEADER = 'avro-fingerprint';

export interface Encoded {
  value: Buffer;
  headers: Record<string, string>;
}

export type Decoded = { [K in MessageKind]: { kind: K; body: MessageBodies[K] } }[MessageKind];

/**
 * Avro in Confluent's wire format: byte 0, the schema's id (four bytes, big-endian), the record. Without a registry the id is 0, and
 * the header `avro-fingerprint` (or `ce_type` of a sender that has none) tells which of the repository's schemas it is.
 */
export class MessageCodec {
  private readonly byFingerprint: Map<string, MessageSchema>;
  private readonly resolvers = new Map<Type, object>();

  constructor(private readonly registry: RegistrySchemas | null) {
    this.byFingerprint = new Map(
      [...messageSchemas().values()].map((schema) => [schema.fingerprint, schema]),
    );
  }

  /**
   * @throws TerminalError `avro-invalid` naming the fields that do not fit the schema, `message-too-large`
   * @throws RetryableError `schema-registry-unavailable`
   */
  encode(kind: MessageKind, body: object): Encoded {
    const { type, fingerprint } = messageSchemas().get(kind)!;
    const errors: FieldError[] = [];
    const errorHook = (path: string[], value: unknown, wanted: Type) =>
      void errors.push({ field: path.join('.'), message: `must be ${String(wanted)}, not ${typeOf(value)}` });
    if (!type.isValid(body, { errorHook }))
      throw new TerminalError('avro-invalid', `No ${kind}: ${errors.map((e) => e.field).join(', ')}`, {
        errors,
      });
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(this.registry ? this.registry.idOf(kind) : 0, 1);
    const value = Buffer.concat([header, type.toBuffer(body)]);
    if (value.length > MAX_MESSAGE_BYTES) throw tooLarge(value.length);
    return { value, headers: this.registry ? {} : { [FINGERPRINT_HEADER]: fingerprint } };
  }

  /**
   * Trusts nothing: neither that it is Avro, nor that it fits into the topic.
   * @throws TerminalError `message-too-large`, `avro-invalid`, `unknown-schema`, `unexpected-message`: no other try can help
   * @throws RetryableError `schema-registry-unavailable`
   */
  async decode(topic: string, value: Buffer, headers: Record<string, string>): Promise<Decoded> {
    if (value.length > MAX_MESSAGE_BYTES) throw tooLarge(value.length);
    if (value.length < HEADER_BYTES || value[0] !== MAGIC)
      throw new TerminalError('avro-invalid', 'Not in the wire format: byte 0, schema id, Avro record');
    const writer = await this.writer(value.readUInt32BE(1), headers);
    const kind = kindsOf(topic).find((candidate) => recordName(candidate) === writer.name);
    if (!kind)
      throw new TerminalError('unexpected-message', `${writer.name ?? 'This'} does not belong into ${topic}`);
    const { type } = messageSchemas().get(kind)!;
    const bytes = value.subarray(HEADER_BYTES);
    try {
      const body = readAvro(bytes, type, writer, writer === type ? null : this.resolver(type, writer));
      return { kind, body } as Decoded;
    } catch (cause) {
      throw new TerminalError('avro-invalid', `Not the ${kind} of its schema: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  private async writer(id: number, headers: Record<string, string>): Promise<Type> {
    const unknown = (what: string) =>
      new TerminalError('unknown-schema', `No schema is known for ${what}; see docs/kafka.md`);
    if (id !== 0) {
      const type = await this.registry?.find(id);
      if (type) return type;
      throw unknown(this.registry ? `id ${id}` : `id ${id}, as no SCHEMA_REGISTRY_URL is set`);
    }
    const fingerprint = headers[FINGERPRINT_HEADER];
    if (fingerprint !== undefined) {
      const schema = this.byFingerprint.get(fingerprint.toLowerCase());
      if (schema) return schema.type;
      throw unknown('the fingerprint in its header');
    }
    for (const schema of messageSchemas().values())
      if (headers['ce_type'] === schema.name) return schema.type;
    throw unknown('id 0 without a header avro-fingerprint or ce_type');
  }

  private resolver(reader: Type, writer: Type): object {
    let resolver = this.resolvers.get(writer);
    if (!resolver) this.resolvers.set(writer, (resolver = reader.createResolver(writer) as object));
    return resolver;
  }
}

function tooLarge(bytes: number): TerminalError {
  return new TerminalError(
    'message-too-large',
    `A message may have ${MAX_MESSAGE_BYTES} bytes; this one has ${bytes}`,
    { status: 413 },
  );
}

const typeOf = (value: unknown): string =>
  value === null ? 'null' : value === undefined ? 'missing' : typeof value;
