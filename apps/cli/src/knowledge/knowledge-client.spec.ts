import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KnowledgeClient } from './knowledge-client.js';

const PAGES: Record<string, object> = {
  '/documents?limit=200': { documents: [{ path: 'a' }, { path: 'b' }], next_cursor: 'x+/=' },
  '/documents?limit=200&cursor=x%2B%2F%3D': { documents: [{ path: 'c' }], next_cursor: null },
};

describe('KnowledgeClient', () => {
  const asked: string[] = [];
  let server: Server;
  let use: <T>(work: (knowledge: KnowledgeClient) => Promise<T>) => Promise<T>;
  beforeAll(async () => {
    server = createServer(({ method, url, headers }, response) => {
      asked.push(`${method} ${url} ${headers.authorization}`);
      if (method === 'DELETE') response.writeHead(204).end();
      else response.setHeader('content-type', 'application/json').end(JSON.stringify(PAGES[url!]));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    use = (work) => KnowledgeClient.use(url, 'T', work);
  });
  afterAll(() => server.close());

  it('lists over all pages', async () => {
    expect((await use((knowledge) => knowledge.list())).map(({ path }) => path)).toEqual(['a', 'b', 'c']);
  });

  it('removes by path', async () => {
    await use((knowledge) => knowledge.remove('~/notes/ä & b.md'));
    expect(asked.at(-1)).toBe('DELETE /documents?path=%7E%2Fnotes%2F%C3%A4+%26+b.md Bearer T');
  });
});
