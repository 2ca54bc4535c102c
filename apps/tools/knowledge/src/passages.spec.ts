import fc from 'fast-check';
import { PASSAGE_CHARS, splitDocument } from './passages.js';

const split = (source: string, path = 'docs/guide.md') => splitDocument(path, source);
const nonBlank = (text: string) => text.split(/\r\n|\r|\n/).filter((line) => line.trim() !== '');
const sentence = 'A worker that dies loses its lease, and another one replays the journal. ';

/** True when `parts` appear among `all` in their order. */
function inOrder(parts: Iterable<string>, all: Iterable<string>): boolean {
  const rest = all[Symbol.iterator]();
  for (const part of parts) {
    let next = rest.next();
    while (!next.done && next.value !== part) next = rest.next();
    if (next.done) return false;
  }
  return true;
}

describe('splitDocument', () => {
  it('keeps the path of headings above each passage', () => {
    const { title, passages } = split(
      '# Architecture\n\nIntro.\n\n## Ideas\n\nOne.\n\n### The *journal*\n\nTwo.\n\n## [House](x.md)\n\nThree.\n',
    );
    expect(title).toBe('Architecture');
    expect(passages).toEqual([
      { heading: 'Architecture', text: '# Architecture\n\nIntro.' },
      { heading: 'Architecture › Ideas', text: '## Ideas\n\nOne.' },
      { heading: 'Architecture › Ideas › The journal', text: '### The *journal*\n\nTwo.' },
      { heading: 'Architecture › House', text: '## [House](x.md)\n\nThree.' },
    ]);
  });

  it('joins a heading without own text to the section below it', () => {
    expect(split('# Guide\n## Start\nText').passages).toEqual([
      { heading: 'Guide › Start', text: '# Guide\n\n## Start\n\nText' },
    ]);
  });

  it('reads underlined headings', () => {
    const { title, passages } = split('Guide\n=====\n\nText\n\nPart\n----\nMore');
    expect(title).toBe('Guide');
    expect(passages.map(({ heading }) => heading)).toEqual(['Guide', 'Guide › Part']);
  });

  it('takes the title from the file name when there is no heading', () => {
    expect(split('Plain words.', 'notes/day one.txt').title).toBe('day one');
    expect(split('Plain words.', '.profile').title).toBe('.profile');
  });

  it('does not take comments in code for headings', () => {
    const { passages } = split('# Run\n\n```sh\n# not a heading\nmake\n```\n');
    expect(passages).toEqual([{ heading: 'Run', text: '# Run\n\n```sh\n# not a heading\nmake\n```' }]);
  });

  it('packs paragraphs into passages between the wanted and the largest length', () => {
    const { passages } = split(Array.from({ length: 40 }, () => sentence.repeat(3)).join('\n\n'));
    expect(passages.length).toBeGreaterThan(5);
    for (const { text } of passages.slice(0, -1)) {
      expect(text.length).toBeGreaterThanOrEqual(PASSAGE_CHARS.wanted);
      expect(text.length).toBeLessThanOrEqual(PASSAGE_CHARS.max);
    }
  });

  it('repeats the header of a table that is cut', () => {
    const rows = Array.from({ length: 60 }, (_, i) => `| row ${i} | ${'x'.repeat(30)} |`);
    const { passages } = split(['| Name | Meaning |', '|---|---|', ...rows].join('\n'));
    expect(passages.length).toBeGreaterThan(1);
    for (const { text } of passages)
      expect(text.startsWith('| Name | Meaning |\n|---|---|\n| row')).toBe(true);
  });

  it('repeats the fence of code that is cut', () => {
    const { passages } = split(
      ['```ts', ...Array.from({ length: 90 }, (_, i) => `const value${i} = ${i};`), '```'].join('\n'),
    );
    expect(passages.length).toBeGreaterThan(1);
    for (const { text } of passages) {
      expect(text.startsWith('```ts\nconst')).toBe(true);
      expect(text.endsWith(';\n```')).toBe(true);
    }
  });

  it('cuts a long line after a sentence', () => {
    const { passages } = split(sentence.repeat(40));
    for (const { text } of passages) expect(text.trimEnd().endsWith('.')).toBe(true);
  });

  it('makes nothing of an empty document', () => {
    expect(split(' \n\n\t\n').passages).toEqual([]);
  });

  const line = fc.oneof(
    fc.string({ maxLength: 80, unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, ' ')),
    fc.constantFrom(
      '',
      '# One',
      '### Three',
      'Title',
      '=====',
      '---',
      '```',
      '~~~~',
      '| a | b |',
      '|---|---|',
      '- item',
      '\t',
    ),
  );

  it('loses no line of the source and keeps their order', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 120 }), fc.constantFrom('\n', '\r\n'), (lines, end) => {
        const source = lines.join(end).replace(/^\ufeff/, '');
        const kept = split(source).passages.flatMap(({ text }) => nonBlank(text));
        expect(inOrder(nonBlank(source), kept)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('loses no character of long lines, cuts none in two, and bounds every passage', () => {
    const long = fc
      .array(fc.oneof(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.constantFrom('😀', '. ', ' ')), {
        minLength: 50,
        maxLength: 90,
      })
      .map((words) =>
        words
          .join('')
          .repeat(3)
          .replace(/[\r\n]/g, ''),
      );
    fc.assert(
      fc.property(fc.array(fc.oneof(line, long), { maxLength: 6 }), (lines) => {
        const source = lines.join('\n').replace(/^\ufeff/, '');
        const { passages } = split(source);
        const kept = passages.map(({ text }) => text).join('\n');
        for (const { text } of passages) {
          expect(text.length).toBeLessThanOrEqual(PASSAGE_CHARS.max);
          expect(Buffer.from(text).toString()).toBe(text);
        }
        expect(inOrder(source.replace(/\s/g, ''), kept.replace(/\s/g, ''))).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
