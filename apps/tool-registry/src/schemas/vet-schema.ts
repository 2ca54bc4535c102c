import { RE2JS } from 're2js';
import safeRegex from 'safe-regex2';
import type { JsonSchema } from '#libs/contracts';
import { recursesWithoutBase } from './recursion.js';
import { isSchemaObject, resolveLocal, walkSchema } from './walk-schema.js';

/** Bounds of a foreign schema. */
export const SCHEMA_LIMITS = {
  /** UTF-16 code units of its JSON text. */
  chars: 131_072,
  /** Levels of nesting, keywords included. */
  depth: 32,
  /** Keys and array elements over the whole schema. */
  members: 4000,
  patternChars: 512,
} as const;

/** Keywords that reach outside the schema, or move what a reference means. */
const UNSUPPORTED = [
  '$id',
  '$anchor',
  '$dynamicRef',
  '$dynamicAnchor',
  '$recursiveRef',
  '$recursiveAnchor',
  '$vocabulary',
];
const RESERVED_KEYS = ['__proto__', 'constructor', 'prototype'];

/** Why a schema is not taken. The message is for its author. */
export class SchemaRejected extends Error {}

/**
 * Refuses what would make checking a value slow, endless or remote, before the schema is compiled.
 * @throws SchemaRejected
 */
export function vetSchema(schema: unknown): asserts schema is JsonSchema {
  if (!isSchemaObject(schema)) throw new SchemaRejected('a schema is a JSON object');
  vetShape(schema);
  if (JSON.stringify(schema).length > SCHEMA_LIMITS.chars)
    throw new SchemaRejected(`the schema has more than ${SCHEMA_LIMITS.chars} characters`);
  for (const { schema: place, pointer } of walkSchema(schema)) {
    for (const keyword of UNSUPPORTED)
      if (Object.hasOwn(place, keyword))
        throw new SchemaRejected(`${keyword} is not supported, at #${pointer}`);
    vetReference(schema, place['$ref'], pointer);
    vetPattern(place['pattern'], `${pointer}/pattern`);
    const byPattern = place['patternProperties'];
    if (isSchemaObject(byPattern))
      for (const pattern of Object.keys(byPattern)) vetPattern(pattern, `${pointer}/patternProperties`);
  }
  if (recursesWithoutBase(schema)) throw new SchemaRejected('the schema refers to itself without a base');
}

/** Iterative: the depth is what is being checked. */
function vetShape(root: object): void {
  let members = 0;
  const open: Array<{ value: object; depth: number }> = [{ value: root, depth: 1 }];
  for (let item = open.pop(); item; item = open.pop()) {
    if (item.depth > SCHEMA_LIMITS.depth)
      throw new SchemaRejected(`nested deeper than ${SCHEMA_LIMITS.depth} levels`);
    const isArray = Array.isArray(item.value);
    for (const [key, value] of Object.entries(item.value)) {
      if (++members > SCHEMA_LIMITS.members)
        throw new SchemaRejected(`more than ${SCHEMA_LIMITS.members} properties and values`);
      if (!isArray && RESERVED_KEYS.includes(key)) throw new SchemaRejected(`the name ${key} is reserved`);
      if (!isArray && key === '$data') throw new SchemaRejected('$data is not supported');
      if (typeof value === 'object' && value !== null)
        open.push({ value: value as object, depth: item.depth + 1 });
    }
  }
}

function vetReference(root: JsonSchema, ref: unknown, pointer: string): void {
  if (ref === undefined) return;
  if (typeof ref !== 'string' || !/^#(\/|$)/.test(ref))
    throw new SchemaRejected(`only references inside the schema (#/…) are supported, at #${pointer}`);
  const target = resolveLocal(root, ref);
  if (!isSchemaObject(target) && typeof target !== 'boolean')
    throw new SchemaRejected(`a reference points nowhere, at #${pointer}`);
}

function vetPattern(pattern: unknown, pointer: string): void {
  if (pattern === undefined) return;
  if (typeof pattern !== 'string' || pattern.length > SCHEMA_LIMITS.patternChars)
    throw new SchemaRejected(
      `a pattern is a text of at most ${SCHEMA_LIMITS.patternChars} characters, at #${pointer}`,
    );
  // An optional group repeats nothing: `(-[a-z]+)?` is no nested repetition, though it counts as one there.
  if (!safeRegex(pattern.replaceAll(/\)\?{1,2}/g, ')')))
    throw new SchemaRejected(`the pattern can backtrack catastrophically, at #${pointer}`);
  try {
    RE2JS.compile(pattern);
  } catch {
    throw new SchemaRejected(
      `the pattern is not RE2 syntax (no look-around, no back-references), at #${pointer}`,
    );
  }
}
