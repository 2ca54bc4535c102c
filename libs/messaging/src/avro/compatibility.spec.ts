import { incompatibilities } from './compatibility.js';
import { messageSchemas } from './schemas.js';

const record = (...fields: object[]) => ({ type: 'record' as const, name: 'R', fields }) as never;
const field = (name: string, type: unknown, rest: object = {}) => ({ name, type, ...rest });

describe('backward compatibility of a schema', () => {
  it('holds for itself', () => {
    for (const { json } of messageSchemas().values()) expect(incompatibilities(json, json)).toEqual([]);
  });

  it.each([
    ['a field is gone', record(), record(field('a', 'string'))],
    ['a new field has a default', record(field('a', ['null', 'int'], { default: null })), record()],
    ['a field may be null now', record(field('a', ['null', 'string'])), record(field('a', 'string'))],
    ['a number is wider', record(field('a', 'long')), record(field('a', 'int'))],
    ['it only has another doc', record(field('a', 'string', { doc: 'x' })), record(field('a', 'string'))],
    [
      'a logical type is added',
      record(field('a', { type: 'long', logicalType: 'timestamp-millis' })),
      record(field('a', 'long')),
    ],
  ])('holds when %s', (_, reader, writer) => {
    expect(incompatibilities(reader, writer)).toEqual([]);
  });

  it.each([
    ['a new field has no default', record(field('a', 'string')), record(), 'a: is new and has no default'],
    [
      'a type changed',
      record(field('a', 'int')),
      record(field('a', 'string')),
      'a: string cannot be read as int',
    ],
    [
      'a number is narrower',
      record(field('a', 'int')),
      record(field('a', 'long')),
      'a: long cannot be read as int',
    ],
    [
      'null is no longer allowed',
      record(field('a', 'string')),
      record(field('a', ['null', 'string'])),
      'a: null cannot be read as string',
    ],
    [
      'the values of a map changed',
      record(field('m', { type: 'map', values: 'int' })),
      record(field('m', { type: 'map', values: 'string' })),
      'm{}: string cannot be read as int',
    ],
    [
      'a record in an array has a new field',
      record(field('l', { type: 'array', items: record(field('x', 'int')) })),
      record(field('l', { type: 'array', items: record() })),
      'l[].x: is new and has no default',
    ],
  ])('is broken when %s', (_, reader, writer, reason) => {
    expect(incompatibilities(reader, writer)).toEqual([reason]);
  });
});
