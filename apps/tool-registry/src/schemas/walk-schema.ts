import type { JsonSchema } from '#libs/contracts';

const MAP_KEYWORDS = ['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas'];
const LIST_KEYWORDS = ['allOf', 'anyOf', 'oneOf', 'prefixItems'];
const SINGLE_KEYWORDS = [
  'items',
  'contains',
  'additionalProperties',
  'propertyNames',
  'unevaluatedItems',
  'unevaluatedProperties',
  'not',
  'if',
  'then',
  'else',
  'contentSchema',
];

export interface Located {
  schema: JsonSchema;
  /** JSON pointer from the root of the schema. */
  pointer: string;
}

export function isSchemaObject(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Every place of a schema that is a schema itself, the root first. Keywords decide: a property may be named `pattern`. */
export function* walkSchema(root: JsonSchema): Generator<Located> {
  const open: Located[] = [{ schema: root, pointer: '' }];
  for (let place = open.pop(); place; place = open.pop()) {
    yield place;
    open.push(...subschemas(place));
  }
}

function* subschemas({ schema, pointer }: Located): Generator<Located> {
  const at = (value: unknown, path: string): Located[] =>
    isSchemaObject(value) ? [{ schema: value, pointer: `${pointer}/${path}` }] : [];
  for (const keyword of SINGLE_KEYWORDS) yield* at(schema[keyword], keyword);
  for (const keyword of LIST_KEYWORDS) {
    const list = schema[keyword];
    if (Array.isArray(list)) for (const [i, value] of list.entries()) yield* at(value, `${keyword}/${i}`);
  }
  for (const keyword of MAP_KEYWORDS) {
    const map = schema[keyword];
    if (isSchemaObject(map))
      for (const [key, value] of Object.entries(map)) yield* at(value, `${keyword}/${escape(key)}`);
  }
}

const escape = (key: string) => key.replaceAll('~', '~0').replaceAll('/', '~1');

/** What a local `$ref` (`#`, `#/…`) points at; undefined when it points nowhere. */
export function resolveLocal(root: JsonSchema, ref: string): unknown {
  let value: unknown = root;
  for (const token of ref.slice(1).split('/').slice(1)) {
    const key = decode(token).replaceAll('~1', '/').replaceAll('~0', '~');
    const own = typeof value === 'object' && value !== null && Object.hasOwn(value, key);
    if (!own) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

function decode(token: string): string {
  try {
    return decodeURIComponent(token);
  } catch {
    return token;
  }
}
