import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestOf, readDocuments } from './document-files.js';

let folder: string;
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'baton-docs-')), 'notes');
  mkdirSync(join(folder, 'deep'), { recursive: true });
});
afterEach(() => rmSync(join(folder, '..'), { recursive: true }));

const write = (name: string, content: string | Buffer) => writeFileSync(join(folder, name), content);

describe('readDocuments', () => {
  it('takes the text files of a folder under paths that begin with its name', () => {
    write('b.md', '# B');
    write('deep/a.txt', 'A');
    write('picture.png', 'x');
    write('.hidden.md', 'x');
    expect(readDocuments(folder).documents).toEqual([
      { path: 'notes/b.md', text: '# B' },
      { path: 'notes/deep/a.txt', text: 'A' },
    ]);
  });

  it('takes a single file whatever its name', () => {
    write('LICENSE', 'free');
    expect(readDocuments(join(folder, 'LICENSE')).documents).toEqual([{ path: 'LICENSE', text: 'free' }]);
  });

  it('leaves out what cannot be indexed, with the reason', () => {
    write('good.md', 'good');
    write('binary.md', Buffer.from([0xff, 0xfe]));
    write('empty.md', ' \n');
    write('large.md', 'x'.repeat(1_048_577));
    const { documents, skipped } = readDocuments(folder);
    expect(documents).toHaveLength(1);
    expect(skipped.map(({ reason }) => reason)).toEqual(['not text in UTF-8', 'empty', 'larger than 1 MiB']);
  });

  it.each([
    ['nowhere', /no file or folder/],
    ['deep', /no Markdown/],
  ])('refuses %s', (name, message) => {
    expect(() => readDocuments(join(folder, name))).toThrow(message);
  });
});

describe('digestOf', () => {
  it('changes with a path and with a text', () => {
    const digests = [
      [{ path: 'a', text: 'x' }],
      [{ path: 'b', text: 'x' }],
      [{ path: 'a', text: 'y' }],
      [],
    ].map(digestOf);
    expect(new Set(digests).size).toBe(4);
  });
});
