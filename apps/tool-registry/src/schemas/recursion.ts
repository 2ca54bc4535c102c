import type { JsonSchema } from '#libs/contracts';
import { isSchemaObject, resolveLocal, walkSchema } from './walk-schema.js';

type Edges = (schema: JsonSchema) => unknown[];

/**
 * True when the schema refers to itself without a base: either checking one value never ends (a cycle of references and
 * combinators that stays at the same value), or no finite value can satisfy it (a cycle through required properties).
 * Recursion through optional properties or items, as in a tree, is fine.
 */
export function recursesWithoutBase(root: JsonSchema): boolean {
  const target: Edges = ({ $ref }) => (typeof $ref === 'string' ? [resolveLocal(root, $ref)] : []);
  const sameValue: Edges = (schema) => [
    ...target(schema),
    ...['allOf', 'anyOf', 'oneOf'].flatMap((keyword) => listOf(schema[keyword])),
    ...['not', 'if', 'then', 'else'].map((keyword) => schema[keyword]),
    ...(isSchemaObject(schema['dependentSchemas']) ? Object.values(schema['dependentSchemas']) : []),
  ];
  const everyValue: Edges = (schema) => [
    ...target(schema),
    ...listOf(schema['allOf']),
    ...requiredProperties(schema),
  ];
  return hasCycle(root, sameValue) || hasCycle(root, everyValue);
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

function requiredProperties(schema: JsonSchema): unknown[] {
  const properties = schema['properties'];
  if (!isSchemaObject(properties)) return [];
  return listOf(schema['required'])
    .filter((name): name is string => typeof name === 'string' && Object.hasOwn(properties, name))
    .map((name) => properties[name]);
}

function hasCycle(root: JsonSchema, edges: Edges): boolean {
  const state = new Map<JsonSchema, 'open' | 'closed'>();
  const visit = (schema: unknown): boolean => {
    if (!isSchemaObject(schema)) return false;
    const seen = state.get(schema);
    if (seen) return seen === 'open';
    state.set(schema, 'open');
    const cyclic = edges(schema).some(visit);
    state.set(schema, 'closed');
    return cyclic;
  };
  for (const { schema } of walkSchema(root)) if (visit(schema)) return true;
  return false;
}
