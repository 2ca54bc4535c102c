import { homedir } from 'node:os';
import { join } from 'node:path';
import { documentsAt } from './knowledge.js';

const document = (path: string, shared = false) => ({
  path,
  shared,
  bytes: 1,
  passages: 1,
  updated_at: 'now',
});
const INDEX = [
  document('/x/notes/a.md'),
  document('/x/notes/deep/b.md'),
  document('/x/notes2/c.md'),
  document('~/d.md'),
  document('old/e.md'),
  document('docs/shared.md', true),
];
const paths = (path: string) => documentsAt(path, INDEX).map((one) => one.path);

describe('documentsAt', () => {
  it.each([
    ['a file', '/x/notes/a.md', ['/x/notes/a.md']],
    ['a folder', '/x/notes', ['/x/notes/a.md', '/x/notes/deep/b.md']],
    ['a folder with a slash', '/x/notes/', ['/x/notes/a.md', '/x/notes/deep/b.md']],
    ['a roundabout way', '/x/notes/../notes2/./c.md', ['/x/notes2/c.md']],
    ['a file below home', join(homedir(), 'd.md'), ['~/d.md']],
    ['what list shows', '~/d.md', ['~/d.md']],
    ['a path of before', 'old', ['old/e.md']],
  ])('finds by %s', (_, path, expected) => {
    expect(paths(path)).toEqual(expected);
  });

  it('does not take the beginning of a name for a folder', () => {
    expect(() => paths('/x/note')).toThrow(/No document of yours/);
  });

  it.each(['', '/'])('takes nothing for %j', (path) => {
    expect(() => paths(path)).toThrow(/No document of yours/);
  });

  it('leaves what every tenant has', () => {
    expect(() => paths('docs')).toThrow(/No document of yours/);
  });
});
