import { TerminalError } from '#libs/contracts';
import { developerToken } from '../identity/developer.js';
import { ensureHost } from '../stack/detach.js';
import { Stack, urlOf } from '../stack/stack.js';
import { table } from '../stack/table.js';
import { canonicalPath, readDocuments } from './document-files.js';
import { KnowledgeClient, type IndexedDocument } from './knowledge-client.js';

const notice = (line: string) => void process.stderr.write(`${line}\n`);

/** Indexes a file or folder for the developer's tenant. */
export async function addKnowledge(path: string): Promise<void> {
  const { documents, skipped } = readDocuments(path);
  const changes = await withKnowledge((knowledge) =>
    knowledge.put(documents, false, (document, changed) =>
      notice(`  ${changed ? 'indexed  ' : 'unchanged'}  ${document.path}`),
    ),
  );
  for (const one of skipped) notice(`  skipped    ${one.path}: ${one.reason}`);
  process.stdout.write(
    `${changes} indexed, ${documents.length - changes} unchanged, ${skipped.length} skipped.\n`,
  );
}

/** Prints what the knowledge tools find: the developer's own documents and those that every tenant has. */
export async function listKnowledge(): Promise<void> {
  const documents = await withKnowledge((knowledge) => knowledge.list());
  process.stdout.write(
    table(
      ['path', 'passages', 'bytes', 'indexed', 'for'],
      documents.map(({ path, passages, bytes, updated_at, shared }) => [
        path,
        String(passages),
        String(bytes),
        updated_at.slice(0, 16).replace('T', ' '),
        shared ? 'every tenant' : 'you',
      ]),
    ),
  );
}

/** Removes a document of the developer's tenant, or all below a folder; the files themselves stay. */
export async function removeKnowledge(path: string): Promise<void> {
  const removed = await withKnowledge(async (knowledge) => {
    const documents = documentsAt(path, await knowledge.list());
    for (const document of documents) {
      await knowledge.remove(document.path);
      notice(`  removed    ${document.path}`);
    }
    return documents.length;
  });
  process.stdout.write(`${removed} removed.\n`);
}

/**
 * The developer's own documents at `path`, which is one that `list` shows, or a file or folder on this machine.
 * @throws TerminalError `no-documents`
 */
export function documentsAt(path: string, documents: IndexedDocument[]): IndexedDocument[] {
  const own = documents.filter(({ shared }) => !shared);
  const places = [path.replace(/\/+$/, ''), canonicalPath(path)].filter(Boolean);
  const found = own.filter((one) =>
    places.some((place) => one.path === place || one.path.startsWith(`${place}/`)),
  );
  if (found.length === 0)
    throw new TerminalError(
      'no-documents',
      `No document of yours is indexed at ${path}: ./baton knowledge list`,
    );
  return found;
}

/** Starts what is not up. */
async function withKnowledge<T>(work: (knowledge: KnowledgeClient) => Promise<T>): Promise<T> {
  const stack = new Stack();
  const host = await ensureHost(stack, false, notice);
  return KnowledgeClient.use(urlOf(host, 'tools-knowledge'), await developerToken(stack, host), work);
}
