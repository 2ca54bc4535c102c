import { HttpClient } from '#libs/chassis';
import type { DocumentFile } from './document-files.js';

/** Indexing one document of 1 MiB on a busy machine. */
const TIMEOUT_MS = 60_000;

interface Indexed {
  changed: boolean;
}

/** Puts documents into the knowledge service, one after the other. Answers how many were new or changed. */
export async function putDocuments(
  url: string,
  token: string,
  documents: DocumentFile[],
  shared: boolean,
  onDone: (document: DocumentFile, changed: boolean) => void = () => undefined,
): Promise<number> {
  const http = new HttpClient({ connections: 1 });
  let changes = 0;
  try {
    for (const document of documents) {
      const { body } = await http.json<Indexed>(`${url}/documents`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${token}` },
        body: { ...document, shared },
        timeoutMs: TIMEOUT_MS,
      });
      if (body.changed) changes += 1;
      onDone(document, body.changed);
    }
  } finally {
    await http.close();
  }
  return changes;
}
