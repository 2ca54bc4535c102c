import fc from 'fast-check';
import { storable } from './storable.js';

describe('what the journal can hold', () => {
  it('stays the very same value', () => {
    const value = { text: 'plain 😀 \n "quoted" \\', list: [1, null, true] };
    expect(storable(value)).toBe(value);
  });

  it.each([
    ['a\0b', 'a\ufffdb'],
    ['half \ud83d', 'half \ufffd'],
    ['\ude00 half', '\ufffd half'],
    ['\\u0000\0', '\\u0000\ufffd'],
    ['\\\\ud83d\ud83d😀', '\\\\ud83d\ufffd😀'],
  ])('%j becomes %j', (text, safe) => {
    expect(storable(text)).toBe(safe);
    expect(storable({ [text]: [text] })).toEqual({ [safe]: [safe] });
  });

  it('is never lost, and nothing else is kept', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', '\0', '\\', 'u0000', '\ud83d', '\ude00', '"', '漢') }),
        (text) => {
          expect(storable({ text })).toEqual({ text: text.toWellFormed().replaceAll('\0', '\ufffd') });
        },
      ),
    );
  });
});
