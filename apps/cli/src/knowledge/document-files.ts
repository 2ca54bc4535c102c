import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, extname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { TerminalError } from '#libs/contracts';

export interface DocumentFile {
  /** Under which it is indexed. */
  path: string;
  text: string;
}

const TEXT_FILES = new Set(['.md', '.markdown', '.txt', '.text', '.rst', '.adoc']);
const MAX_BYTES = 1_048_576;

export interface ReadFiles {
  documents: DocumentFile[];
  /** Why a file of a folder is left out. */
  skipped: Array<{ path: string; reason: string }>;
}

/**
 * The one path of a file or folder, however it is named: without symbolic links, with `/`, and `~` for the person's own folder.
 * What does not exist any more keeps the part that does not.
 */
export function canonicalPath(target: string): string {
  const path = withoutLinks(resolve(target));
  const inHome = relative(realpathSync(homedir()), path);
  const isInHome = !isAbsolute(inHome) && inHome.split(sep)[0] !== '..';
  return (isInHome ? join('~', inHome) : path).split(sep).join('/');
}

function withoutLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return dirname(path) === path ? path : join(withoutLinks(dirname(path)), basename(path));
  }
}

/**
 * A named file, or all Markdown and text files of a folder; hidden ones and node_modules are passed over.
 * @param nameOf the path under which a file is indexed
 * @throws TerminalError `no-documents` when there are none, or when the named file cannot be indexed.
 */
export function readDocuments(target: string, nameOf = canonicalPath): ReadFiles {
  const start = resolve(target);
  const stats = statSync(start, { throwIfNoEntry: false });
  if (!stats) throw new TerminalError('no-documents', `There is no file or folder ${target}`);
  const files = stats.isDirectory() ? textFilesOf(start) : [start];
  const documents: DocumentFile[] = [];
  const skipped: ReadFiles['skipped'] = [];
  for (const file of files) {
    const path = nameOf(file);
    const content = readText(file);
    if ('text' in content) documents.push({ path, text: content.text });
    else skipped.push({ path, reason: content.reason });
  }
  if (documents.length === 0)
    throw new TerminalError(
      'no-documents',
      `Nothing to index at ${target}: ${skipped[0]?.reason ?? 'no Markdown or text files'}`,
    );
  return { documents, skipped };
}

function textFilesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !entry.name.startsWith('.') && entry.name !== 'node_modules')
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return textFilesOf(path);
      return entry.isFile() && TEXT_FILES.has(extname(entry.name).toLowerCase()) ? [path] : [];
    })
    .toSorted();
}

function readText(file: string): { text: string } | { reason: string } {
  if (statSync(file).size > MAX_BYTES) return { reason: 'larger than 1 MiB' };
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch {
    return { reason: 'not text in UTF-8' };
  }
  if (text.includes('\0')) return { reason: 'not text: it has NUL characters' };
  return text.trim() === '' ? { reason: 'empty' } : { text };
}

/** The same for the same documents, whatever their files' dates. */
export function digestOf(documents: DocumentFile[]): string {
  return createHash('sha256').update(JSON.stringify(documents)).digest('hex');
}
