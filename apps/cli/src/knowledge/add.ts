import { developerToken } from '../identity/developer.js';
import { ensureHost } from '../stack/detach.js';
import { Stack, urlOf } from '../stack/stack.js';
import { readDocuments } from './document-files.js';
import { putDocuments } from './knowledge-client.js';

const notice = (line: string) => void process.stderr.write(`${line}\n`);

/** Indexes a file or folder for the developer's tenant; starts what is not up. */
export async function addKnowledge(path: string): Promise<void> {
  const { documents, skipped } = readDocuments(path);
  const stack = new Stack();
  const host = await ensureHost(stack, false, notice);
  const changes = await putDocuments(
    urlOf(host, 'tools-knowledge'),
    await developerToken(stack, host),
    documents,
    false,
    (document, changed) => notice(`  ${changed ? 'indexed  ' : 'unchanged'}  ${document.path}`),
  );
  for (const one of skipped) notice(`  skipped    ${one.path}: ${one.reason}`);
  process.stdout.write(
    `${changes} indexed, ${documents.length - changes} unchanged, ${skipped.length} skipped.\n`,
  );
}
