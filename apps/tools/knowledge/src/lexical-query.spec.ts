import fc from 'fast-check';
import { relaxedQuery } from './lexical-query.js';

describe('relaxedQuery', () => {
  it('takes the words of a question', () => {
    expect(relaxedQuery('How does Baton survive a crash?')).toEqual({
      terms: ['how', 'does', 'baton', 'survive', 'a', 'crash'],
      excluded: [],
    });
  });

  it('keeps compounds beside their parts', () => {
    expect(relaxedQuery('node.js run_id').terms).toEqual([
      'node',
      'js',
      "'node.js'",
      'run',
      'id',
      "'run_id'",
    ]);
  });

  it('leaves out what the question leaves out', () => {
    expect(relaxedQuery('crash -redis "a worker" - pause')).toEqual({
      terms: ['crash', 'a', 'worker', 'pause'],
      excluded: ['redis'],
    });
  });

  it('does not exclude a wanted word', () => {
    expect(relaxedQuery('-redis redis')).toEqual({ terms: ['redis'], excluded: [] });
  });

  it('takes each word once and at most 32', () => {
    expect(relaxedQuery('one ONE One').terms).toEqual(['one']);
    expect(relaxedQuery(Array.from({ length: 100 }, (_, i) => `w${i}`).join(' ')).terms).toHaveLength(32);
  });

  it('makes only what to_tsquery can read, whatever comes in', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 500 }), (text) => {
        const { terms, excluded } = relaxedQuery(text);
        for (const term of [...terms, ...excluded])
          expect(term).toMatch(/^(?:[\p{L}\p{N}]+|'[\p{L}\p{N}._-]+')$/u);
      }),
    );
  });
});
