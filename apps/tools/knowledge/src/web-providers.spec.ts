import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { HttpClient } from '#libs/chassis';
import { webSearch, type WebSearchConfig } from './web-providers.js';

const NONE: WebSearchConfig = {
  SEARXNG_URL: '',
  BRAVE_API_KEY: '',
  BRAVE_URL: 'http://127.0.0.1:9',
  TAVILY_API_KEY: '',
  TAVILY_URL: 'http://127.0.0.1:9',
};
const signal = () => new AbortController().signal;

describe('webSearch', () => {
  let server: Server;
  let base: string;
  let http: HttpClient;
  let answer: { status: number; body: string };
  let seen: { method?: string; url: URL; headers: IncomingMessage['headers']; body: string };

  beforeAll(async () => {
    server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method, headers } = request;
        seen = { method, url: new URL(request.url!, base), headers, body: Buffer.concat(chunks).toString() };
        response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    http = new HttpClient();
  });
  afterAll(async () => {
    await http.close();
    server.close();
  });

  const answers = (body: unknown, status = 200) => (answer = { status, body: JSON.stringify(body) });

  it('asks SearXNG', async () => {
    answers({ results: [{ url: 'https://a.example/', title: 'A', content: 'About a' }] });
    const found = await webSearch({ ...NONE, SEARXNG_URL: `${base}/` }, http)(
      'two words & more',
      3,
      signal(),
    );
    expect(found).toEqual([{ url: 'https://a.example/', title: 'A', snippet: 'About a' }]);
    expect(seen.url.pathname).toBe('/search');
    expect(Object.fromEntries(seen.url.searchParams)).toEqual({ q: 'two words & more', format: 'json' });
  });

  it('asks Brave, with its key', async () => {
    answers({
      web: {
        results: [{ url: 'https://b.example/', title: 'B', description: '<strong>B</strong> &amp; C' }],
      },
    });
    const found = await webSearch({ ...NONE, BRAVE_API_KEY: 'key-b', BRAVE_URL: base }, http)(
      'b',
      4,
      signal(),
    );
    expect(found).toEqual([{ url: 'https://b.example/', title: 'B', snippet: 'B & C' }]);
    expect(seen.url.pathname).toBe('/res/v1/web/search');
    expect(seen.url.searchParams.get('count')).toBe('4');
    expect(seen.headers['x-subscription-token']).toBe('key-b');
  });

  it('asks Tavily, with its key', async () => {
    answers({ results: [{ url: 'https://c.example/', title: 'C', content: 'c' }] });
    const found = await webSearch({ ...NONE, TAVILY_API_KEY: 'key-t', TAVILY_URL: base }, http)(
      'c',
      5,
      signal(),
    );
    expect(found).toHaveLength(1);
    expect(seen).toMatchObject({ method: 'POST', body: '{"query":"c","max_results":5}' });
    expect(seen.headers.authorization).toBe('Bearer key-t');
  });

  it('prefers SearXNG to Brave and Brave to Tavily', async () => {
    answers({ results: [] });
    const all = {
      ...NONE,
      SEARXNG_URL: base,
      BRAVE_API_KEY: 'b',
      BRAVE_URL: base,
      TAVILY_API_KEY: 't',
      TAVILY_URL: base,
    };
    await webSearch(all, http)('x', 1, signal());
    expect(seen.url.pathname).toBe('/search');
    await webSearch({ ...all, SEARXNG_URL: '' }, http)('x', 1, signal());
    expect(seen.url.pathname).toBe('/res/v1/web/search');
  });

  it('bounds the number and the length of results', async () => {
    const results = Array.from({ length: 9 }, (_, i) => ({
      url: `https://x.example/${i}`,
      title: 't'.repeat(999),
      content: '😀'.repeat(999),
    }));
    answers({ results });
    const found = await webSearch({ ...NONE, SEARXNG_URL: base }, http)('x', 4, signal());
    expect(found).toHaveLength(4);
    expect(found[0]!.title).toHaveLength(300);
    expect(found[0]!.snippet).toBe('😀'.repeat(500));
  });

  it('leaves out entries that are no web pages', async () => {
    answers({
      results: [
        null,
        'text',
        { title: 'no address' },
        { url: 'javascript:alert(1)', title: 'no' },
        { url: 'https://ok.example/' },
      ],
    });
    const found = await webSearch({ ...NONE, SEARXNG_URL: base }, http)('x', 9, signal());
    expect(found).toEqual([{ url: 'https://ok.example/', title: 'https://ok.example/', snippet: '' }]);
  });

  it('finds nothing in an answer without results', async () => {
    answers([]);
    expect(await webSearch({ ...NONE, BRAVE_API_KEY: 'b', BRAVE_URL: base }, http)('x', 9, signal())).toEqual(
      [],
    );
    answers(null);
    expect(await webSearch({ ...NONE, SEARXNG_URL: base }, http)('x', 9, signal())).toEqual([]);
  });

  it.each([
    [401, '{}', 'web_search_refused'],
    [429, '{}', 'web_search_unavailable'],
    [500, '{}', 'web_search_unavailable'],
    [200, '<html>', 'web_search_unavailable'],
    [200, `"${'x'.repeat(3_000_000)}"`, 'web_search_unavailable'],
  ])('turns the answer %i %.9s into a failure that the model sees', async (status, body, code) => {
    answer = { status, body };
    const failure = webSearch({ ...NONE, TAVILY_API_KEY: 'key-t', TAVILY_URL: base }, http)('x', 1, signal());
    await expect(failure).rejects.toMatchObject({
      name: 'ToolFailure',
      code,
      message: expect.not.stringContaining('key-t'),
    });
  });

  it('says how to go on when nothing is configured', async () => {
    const failure = webSearch(NONE, http)('x', 1, signal());
    await expect(failure).rejects.toMatchObject({ name: 'ToolFailure', code: 'not_configured' });
    await expect(failure).rejects.toThrow(/SEARXNG_URL, BRAVE_API_KEY or TAVILY_API_KEY.*other tools/);
  });
});
