import { compileSchema, fieldErrors } from './compile-schema.js';
import { vetSchema } from './vet-schema.js';

const nested = (depth: number): unknown => (depth === 0 ? {} : { not: nested(depth - 1) });
const properties = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, {}]));
const self = { $ref: '#' };

describe('vetSchema', () => {
  it.each<[string, unknown, RegExp]>([
    ['catastrophic backtracking', { properties: { a: { pattern: '^(a+)+$' } } }, /backtrack/],
    ['catastrophic backtracking in patternProperties', { patternProperties: { '(x*)*y': {} } }, /backtrack/],
    ['catastrophic backtracking behind an optional group', { pattern: '^((a+)?)+$' }, /backtrack/],
    ['a pattern that RE2 does not take', { pattern: '^(?=a)' }, /RE2/],
    ['a back-reference', { pattern: '(a)\\1' }, /RE2/],
    ['a remote reference', { $ref: 'https://example.com/schema.json' }, /inside the schema/],
    ['a remote reference below', { items: { $ref: 'other.json#/a' } }, /inside the schema/],
    ['a reference that points nowhere', { $ref: '#/$defs/none' }, /nowhere/],
    ['a reference to itself', self, /base/],
    ['a reference to itself through combinators', { anyOf: [{ type: 'string' }, { not: self }] }, /base/],
    [
      'a circle of definitions',
      { $defs: { a: { $ref: '#/$defs/b' }, b: { allOf: [{ $ref: '#/$defs/a' }] } }, $ref: '#/$defs/a' },
      /base/,
    ],
    [
      'a required property that is the schema again',
      { properties: { next: self }, required: ['next'] },
      /base/,
    ],
    ['depth 1,000', nested(1000), /deeper/],
    ['20,000 properties', { properties: properties(20_000) }, /more than/],
    ['$data', { properties: { a: { maximum: { $data: '1/b' } } } }, /\$data/],
    ['__proto__ as property', JSON.parse('{"properties":{"__proto__":{"type":"string"}}}'), /reserved/],
    ['constructor as property', { properties: { constructor: {} } }, /reserved/],
    ['an identifier of its own', { $id: 'https://example.com/a' }, /\$id/],
    ['a list', [], /object/],
    ['nothing', null, /object/],
  ])('refuses %s', (_, schema, reason) => {
    expect(() => vetSchema(schema)).toThrow(reason);
  });

  it.each<[string, Record<string, unknown>]>([
    [
      'the schema of the source document',
      {
        type: 'object',
        properties: {
          query: { type: 'string', maxLength: 500 },
          num_results: { type: 'integer', minimum: 1, maximum: 20 },
        },
        required: ['query'],
      },
    ],
    ['a tree', { properties: { children: { type: 'array', items: self } }, required: ['children'] }],
    [
      'a list that may end',
      { properties: { next: { anyOf: [{ type: 'null' }, self] } }, required: ['next'] },
    ],
    [
      'properties named like keywords',
      { type: 'object', properties: { pattern: { type: 'string' }, $ref: { type: 'string' }, items: {} } },
    ],
    ['a linear pattern', { pattern: '^[a-z]{2,8}(-[a-z]+)?$' }],
  ])('takes %s', (_, schema) => {
    expect(() => vetSchema(schema)).not.toThrow();
    expect(() => compileSchema(schema)).not.toThrow();
  });
});

describe('compileSchema', () => {
  it.each([
    ['an unknown type', { type: 'objekt' }, /schema is invalid/],
    ['a keyword that does not exist', { typ: 'object' }, /unknown keyword/],
    ['a bound that is no number', { maximum: 'ten' }, /schema is invalid/],
    ['an unknown format', { format: 'shoe-size' }, /unknown format/],
    ['another draft', { $schema: 'http://json-schema.org/draft-04/schema#' }, /no schema with key/],
  ])('refuses %s', (_, schema, reason) => {
    expect(() => compileSchema(schema)).toThrow(reason);
  });

  it('runs patterns in linear time', () => {
    // Node's own engine takes minutes for this one; the vetting is bypassed here on purpose.
    const validate = compileSchema({ type: 'string', pattern: '^(a+)+$' });
    const started = performance.now();
    expect(validate(`${'a'.repeat(5000)}!`)).toBe(false);
    expect(validate('aaa')).toBe(true);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  it('names the paths of all errors, and no value', () => {
    const validate = compileSchema({
      type: 'object',
      properties: { a: { type: 'array', items: { enum: ['x', 'y'] } }, b: {} },
      required: ['b'],
      additionalProperties: false,
    });
    validate({ a: ['secret'], c: 1 });
    const errors = fieldErrors(validate.errors!, 'arguments');
    expect(errors.map(({ field }) => field).sort((x, y) => x.localeCompare(y))).toEqual([
      'arguments.a.0',
      'arguments.b',
      'arguments.c',
    ]);
    expect(JSON.stringify(errors)).not.toContain('secret');
    expect(JSON.stringify(errors)).toContain('\\"x\\",\\"y\\"');
  });

  it('lets an inherited name pass for no property', () => {
    expect(compileSchema({ type: 'object', required: ['toString'] })({})).toBe(false);
  });
});
