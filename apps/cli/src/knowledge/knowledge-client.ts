import { HttpClient } from '#libs/chassis';
import type { DocumentFile } from './document-files.js';

/** Indexing one document of 1 MiB on a busy machine. */
const TIMEOUT_MS = 60_000;
const PAGE = 200;

/** A document as the knowledge service lists it. */
export interface IndexedDocument {
  path: string;
  /** Every tenant finds it; else it is the caller's tenant's own. */
  shared: boolean;
  bytes: number;
  passages: number;
  updated_at: string;
}

/** The documents of the knowledge service, as a developer's token may change them. */
export class KnowledgeClient {
  private readonly http = new HttpClient({ connections: 1 });
  private readonly headers: Record<string, string>;

  /** Lets `work` have a client, and closes it. */
  static async use<T>(
    url: string,
    token: string,
    work: (knowledge: KnowledgeClient) => Promise<T>,
  ): Promise<T> {
    const knowledge = new KnowledgeClient(url, token);
    try {
      return await work(knowledge);
    } finally {
      await knowledge.http.close();
    }
  }

  private constructor(
    private readonly url: string,
    token: string,
  ) {
    this.headers = { authorization: `Bearer ${token}` };
  }

  /** Puts documents into the service, one after the other. Answers how many were new or changed. */
  async put(
    documents: DocumentFile[],
    shared: boolean,
    onDone: (document: DocumentFile, changed: boolean) => void = () => undefined,
  ): Promise<number> {
    let changes = 0;
    for (const document of documents) {
      const { body } = await this.http.json<{ changed: boolean }>(`${this.url}/documents`, {
        method: 'PUT',
        headers: this.headers,
        body: { ...document, shared },
        timeoutMs: TIMEOUT_MS,
      });
      if (body.changed) changes += 1;
      onDone(document, body.changed);
    }
    return changes;
  }

  /** Own and shared ones, by path. */
  async list(): Promise<IndexedDocument[]> {
    const all: IndexedDocument[] = [];
    let cursor: string | null = null;
    do {
      const query = new URLSearchParams({ limit: String(PAGE), ...(cursor === null ? {} : { cursor }) });
      const page: { documents: IndexedDocument[]; next_cursor: string | null } = (
        await this.http.json<{ documents: IndexedDocument[]; next_cursor: string | null }>(
          `${this.url}/documents?${query.toString()}`,
          { headers: this.headers },
        )
      ).body;
      all.push(...page.documents);
      cursor = page.next_cursor;
    } while (cursor !== null);
    return all;
  }

  /** One of the caller's tenant. */
  async remove(path: string): Promise<void> {
    const query = new URLSearchParams({ path });
    await this.http.json(`${this.url}/documents?${query.toString()}`, {
      method: 'DELETE',
      headers: this.headers,
    });
  }
}
