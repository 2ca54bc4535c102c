import { isPlainSchema } from './plain-schema.js';

describe('isPlainSchema', () => {
  it('takes what one pass over the value checks', () => {
    const query = { type: 'string', minLength: 1, maxLength: 500, description: 'words' };
    const schema = {
      type: 'object',
      properties: { query, n: { type: 'integer', minimum: 1 } },
      required: ['query'],
      additionalProperties: false,
    };
    expect(isPlainSchema(schema)).toBe(true);
    expect(isPlainSchema({ type: 'array', items: schema, maxItems: 20 })).toBe(true);
  });

  it('takes a property by any name', () => {
    expect(
      isPlainSchema({
        type: 'object',
        properties: { pattern: { type: 'string' }, $ref: { type: 'string' } },
      }),
    ).toBe(true);
  });

  it.each([
    { pattern: '^a$' },
    { format: 'email' },
    { $ref: '#/$defs/a' },
    { anyOf: [{ type: 'string' }] },
    { uniqueItems: true },
    { properties: { deep: { items: { not: {} } } } },
    { additionalProperties: { patternProperties: {} } },
    { enum: ['x'.repeat(5000)] },
    { properties: Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`p${i}`, { type: 'string' }])) },
    'not a schema',
  ])('leaves %j to the thread', (schema) => {
    expect(isPlainSchema(schema)).toBe(false);
  });
});
