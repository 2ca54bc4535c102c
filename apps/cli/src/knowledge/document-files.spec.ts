import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { canonicalPath, digestOf, readDocuments } from './document-files.js';

let folder: string;
beforeEach(() => {
  folder = join(mkdtempSync(join(realpathSync(tmpdir()), 'baton-docs-')), 'notes');
  mkdirSync(join(folder, 'deep'), { recursive: true });
});
afterEach(() => rmSync(join(folder, '..'), { recursive: true }));

const write = (name: string, content: string | Buffer) => writeFileSync(join(folder, name), content);

describe('readDocuments', () => {
  it('takes the text files of a folder', () => {
    write('b.md', '# B');
    write('deep/a.txt', 'A');
    write('picture.png', 'x');
    write('.hidden.md', 'x');
    expect(readDocuments(folder).documents).toEqual([
      { path: join(folder, 'b.md'), text: '# B' },
      { path: join(folder, 'deep/a.txt'), text: 'A' },
    ]);
  });

  it('takes a single file whatever its name', () => {
    write('LICENSE', 'free');
    expect(readDocuments(join(folder, 'LICENSE')).documents).toEqual([
      { path: join(folder, 'LICENSE'), text: 'free' },
    ]);
  });

  it('gives a file one path, however it is named', () => {
    write('a.md', 'A');
    const link = join(folder, '..', 'link');
    symlinkSync(folder, link);
    const relativePath = relative(process.cwd(), join(folder, 'a.md'));
    const paths = [
      folder,
      join(folder, 'a.md'),
      `${folder}/deep/../a.md`,
      link,
      join(link, 'a.md'),
      relativePath,
    ].map((target) => readDocuments(target).documents.map(({ path }) => path));
    expect(new Set(paths.flat())).toEqual(new Set([join(folder, 'a.md')]));
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

describe('canonicalPath', () => {
  it("shortens the person's own folder", () => {
    expect(canonicalPath(join(homedir(), 'no-such-notes/a.md'))).toBe('~/no-such-notes/a.md');
    expect(canonicalPath(homedir())).toBe('~');
  });

  it('keeps what does not exist any more', () => {
    expect(canonicalPath(join(folder, 'gone/a.md'))).toBe(join(folder, 'gone/a.md'));
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
