import { existsSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { projectRoot } from '#libs/chassis';
import { withIdentity } from '../identity/identity.js';
import { urlOf, type HostRecord, type Stack } from '../stack/stack.js';
import { digestOf, readDocuments, type DocumentFile } from './document-files.js';
import { KnowledgeClient } from './knowledge-client.js';

const RECORD = 'project-documents';

/** Lets every tenant find the project's README and `docs/`. Does nothing while they are as this database already has them. */
export async function indexProjectDocuments(stack: Stack, host: Pick<HostRecord, 'services'>): Promise<void> {
  const documents = projectDocuments();
  const digest = `${digestOf(documents)}:${stack.settingsDigest().database}`;
  if (stack.home.read<{ digest: string }>(RECORD)?.digest === digest) return;
  // What every tenant finds is the operator's to change.
  const token = await withIdentity(stack, host, (identity) => identity.operatorToken('tools-knowledge'));
  await KnowledgeClient.use(urlOf(host, 'tools-knowledge'), token, (knowledge) =>
    knowledge.put(documents, true),
  );
  stack.home.write(RECORD, { digest });
}

/** They are cited by their paths in the project. */
function projectDocuments(): DocumentFile[] {
  const nameOf = (file: string) => relative(projectRoot(), file).split(sep).join('/');
  return ['README.md', 'docs']
    .map((name) => join(projectRoot(), name))
    .filter(existsSync)
    .flatMap((path) => readDocuments(path, nameOf).documents);
}
