import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import avro, { type Schema, type Type } from 'avsc';
import { AVRO_NAMESPACE, MESSAGE_KINDS, type MessageKind } from '#libs/contracts';
import { projectRoot } from '#libs/chassis';

/** Folder of the schemas, from the root of the repository. */
export const SCHEMA_FOLDER = 'libs/contracts/src/avro';

/** One record of the repository: how this version of Baton writes and reads it. */
export interface MessageSchema {
  kind: MessageKind;
  /** With namespace: the record's name in Avro, the subject in a registry, `ce_type` of a message. */
  name: string;
  json: Schema & { fields: unknown[] };
  type: Type;
  /** SHA-256 of the canonical form, hexadecimal. */
  fingerprint: string;
}

export const recordName = (kind: MessageKind): string => `${AVRO_NAMESPACE}.${kind}`;

/** @throws Error when the text is no Avro schema */
export const parseSchema = (text: string): Type => avro.Type.forSchema(JSON.parse(text) as Schema);

let cached: ReadonlyMap<MessageKind, MessageSchema> | undefined;

/** The schemas of this version, read once. */
export function messageSchemas(): ReadonlyMap<MessageKind, MessageSchema> {
  return (cached ??= new Map(MESSAGE_KINDS.map((kind) => [kind, read(kind)])));
}

function read(kind: MessageKind): MessageSchema {
  const text = readFileSync(join(projectRoot(), SCHEMA_FOLDER, `${kind}.avsc`), 'utf8');
  const type = parseSchema(text);
  return {
    kind,
    name: recordName(kind),
    json: JSON.parse(text) as MessageSchema['json'],
    type,
    fingerprint: type.fingerprint('sha256').toString('hex'),
  };
}
