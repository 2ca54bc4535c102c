import type { Schema } from 'avsc';

type Node = Schema | string | Node[] | { type: Node; [key: string]: unknown };

interface RecordNode {
  type: 'record';
  name: string;
  fields: Array<{ name: string; type: Node; default?: unknown }>;
}

/** What an Avro reader may make of a number. */
const PROMOTIONS: Record<string, string[]> = {
  int: ['long', 'float', 'double'],
  long: ['float', 'double'],
  float: ['double'],
  string: ['bytes'],
  bytes: ['string'],
};

/**
 * Why a service with the schema `reader` could not read what was written with `writer` (Avro's rules for `BACKWARD`); each line begins with
 * the field. Empty when it can. Knows what the message schemas use: records, arrays, maps, unions and primitive types.
 */
export function incompatibilities(reader: Node, writer: Node, path = ''): string[] {
  const wrong = (reason: string) => [`${path || 'record'}: ${reason}`];
  if (Array.isArray(writer)) return writer.flatMap((branch) => incompatibilities(reader, branch, path));
  if (Array.isArray(reader)) {
    const fits = reader.some((branch) => incompatibilities(branch, writer, path).length === 0);
    return fits ? [] : wrong(`${nameOf(writer)} is none of ${reader.map(nameOf).join(', ')}`);
  }
  const [to, from] = [plain(reader), plain(writer)];
  if (typeof to === 'string' || typeof from === 'string') {
    const same = to === from || (PROMOTIONS[from as string] ?? []).includes(to as string);
    return same ? [] : wrong(`${nameOf(from)} cannot be read as ${nameOf(to)}`);
  }
  if (to['type'] !== from['type']) return wrong(`${nameOf(from)} cannot be read as ${nameOf(to)}`);
  if (to['type'] === 'map')
    return incompatibilities(to['values'] as Node, from['values'] as Node, `${path}{}`);
  if (to['type'] === 'array')
    return incompatibilities(to['items'] as Node, from['items'] as Node, `${path}[]`);
  return to['type'] === 'record'
    ? inRecord(to as unknown as RecordNode, from as unknown as RecordNode, path)
    : wrong(`a ${String(to['type'])} cannot be compared`);
}

function inRecord(reader: RecordNode, writer: RecordNode, path: string): string[] {
  if (simpleName(reader) !== simpleName(writer)) return [`${path || 'record'}: was named ${writer.name}`];
  const written = new Map(writer.fields.map((field) => [field.name, field.type]));
  return reader.fields.flatMap((field) => {
    const where = path ? `${path}.${field.name}` : field.name;
    const type = written.get(field.name);
    if (type !== undefined) return incompatibilities(field.type, type, where);
    return 'default' in field ? [] : [`${where}: is new and has no default`];
  });
}

/** Avro compares records by their name without its namespace. */
const simpleName = ({ name }: RecordNode): string => name.slice(name.lastIndexOf('.') + 1);

/** `{type: 'string'}` and a logical type are their underlying type. */
function plain(node: Node): string | Record<string, unknown> {
  if (typeof node === 'string') return node;
  const { type } = node as { type: Node };
  const composite =
    type === 'record' || type === 'map' || type === 'array' || type === 'enum' || type === 'fixed';
  return composite ? (node as Record<string, unknown>) : plain(type);
}

function nameOf(node: unknown): string {
  if (typeof node === 'string') return node;
  const { type, name } = node as { type: unknown; name?: string };
  return name ?? nameOf(type);
}
