import { isSchemaObject } from './walk-schema.js';

/** Keywords whose check takes time linear in the value, whatever their operands. */
const LINEAR = new Set([
  ...[
    'type',
    'required',
    'enum',
    'const',
    'multipleOf',
    'minimum',
    'maximum',
    'exclusiveMinimum',
    'exclusiveMaximum',
  ],
  ...['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties'],
  ...[
    '$schema',
    '$comment',
    'title',
    'description',
    'default',
    'examples',
    'deprecated',
    'readOnly',
    'writeOnly',
  ],
]);
const MAX_PLACES = 300;
/** Listed values: each is compared with each checked value. */
const MAX_ENUM_CHARS = 4000;

/**
 * True for a schema without patterns, formats, references, combinators or uniqueness: one pass over the value checks it, so it needs
 * no thread of its own. Most tools' schemas are.
 */
export function isPlainSchema(root: unknown): boolean {
  const open: unknown[] = [root];
  for (let places = 0; open.length > 0; places += 1) {
    const schema = open.pop();
    if (typeof schema === 'boolean') continue;
    if (!isSchemaObject(schema) || places > MAX_PLACES) return false;
    for (const [keyword, operand] of Object.entries(schema)) {
      if (keyword === 'items' || keyword === 'additionalProperties') open.push(operand);
      else if (keyword === 'properties' && isSchemaObject(operand)) open.push(...Object.values(operand));
      else if (!LINEAR.has(keyword)) return false;
      else if ((keyword === 'enum' || keyword === 'const') && JSON.stringify(operand).length > MAX_ENUM_CHARS)
        return false;
    }
  }
  return true;
}
