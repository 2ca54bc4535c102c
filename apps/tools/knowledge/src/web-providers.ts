import type { HttpAnswer, HttpClient, HttpRequest } from '#libs/chassis';
import { BatonError } from '#libs/contracts';
import { ToolFailure } from '#libs/tools';
import { clip } from './clip.js';

export interface WebResult {
  url: string;
  title: string;
  snippet: string;
}

/** @throws ToolFailure `not_configured`, `web_search_refused` or `web_search_unavailable`. */
export type WebSearch = (query: string, limit: number, signal: AbortSignal) => Promise<WebResult[]>;

export interface WebSearchConfig {
  SEARXNG_URL: string;
  BRAVE_API_KEY: string;
  BRAVE_URL: string;
  TAVILY_API_KEY: string;
  TAVILY_URL: string;
}

/** One search engine's API: what to ask, and where its answer has the results. */
interface Provider {
  name: string;
  request(query: string, limit: number): HttpRequest & { url: string };
  results(answer: unknown): unknown;
  snippetField: string;
}

const TIMEOUT_MS = 7000;
const MAX_BYTES = 2_097_152;
const CHARS = { url: 2000, title: 300, snippet: 1000 } as const;

/** The first configured of SearXNG, Brave and Tavily. */
export function webSearch(config: WebSearchConfig, http: Pick<HttpClient, 'json'>): WebSearch {
  const provider = providerOf(config);
  if (!provider)
    return () =>
      Promise.reject(
        new ToolFailure(
          'not_configured',
          'Web search is not configured here: SEARXNG_URL, BRAVE_API_KEY or TAVILY_API_KEY must be set for it. ' +
            'Do not call web_search again; go on with the other tools and say that the web was not searched.',
        ),
      );
  return async (query, limit, signal) => {
    const { url, ...request } = provider.request(query, limit);
    let answer: HttpAnswer<unknown>;
    try {
      answer = await http.json(url, { ...request, timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      throw failureOf(provider.name, error);
    }
    return readResults(provider.results(answer.body), provider.snippetField).slice(0, limit);
  };
}

function providerOf(config: WebSearchConfig): Provider | null {
  if (config.SEARXNG_URL) return searxng(baseOf(config.SEARXNG_URL));
  if (config.BRAVE_API_KEY) return brave(baseOf(config.BRAVE_URL), config.BRAVE_API_KEY);
  if (config.TAVILY_API_KEY) return tavily(baseOf(config.TAVILY_URL), config.TAVILY_API_KEY);
  return null;
}

/** https://docs.searxng.org/dev/search_api.html; the instance must allow `format=json`. */
const searxng = (base: string): Provider => ({
  name: 'SearXNG',
  request: (query) => ({ url: addressOf(`${base}/search`, { q: query, format: 'json' }) }),
  results: (answer) => (answer as { results?: unknown } | null)?.results,
  snippetField: 'content',
});

/** https://api-dashboard.search.brave.com/app/documentation/web-search/get-started */
const brave = (base: string, key: string): Provider => ({
  name: 'Brave',
  request: (query, limit) => ({
    url: addressOf(`${base}/res/v1/web/search`, {
      q: query,
      count: String(limit),
      text_decorations: 'false',
    }),
    headers: { 'x-subscription-token': key, accept: 'application/json' },
  }),
  results: (answer) => (answer as { web?: { results?: unknown } } | null)?.web?.results,
  snippetField: 'description',
});

/** https://docs.tavily.com/documentation/api-reference/endpoint/search */
const tavily = (base: string, key: string): Provider => ({
  name: 'Tavily',
  request: (query, limit) => ({
    url: `${base}/search`,
    method: 'POST',
    headers: { authorization: `Bearer ${key}` },
    body: { query, max_results: limit },
  }),
  results: (answer) => (answer as { results?: unknown } | null)?.results,
  snippetField: 'content',
});

const addressOf = (url: string, query: Record<string, string>) =>
  `${url}?${new URLSearchParams(query).toString()}`;
const baseOf = (url: string) => url.replace(/\/+$/, '');

/** Nothing found is an empty list; entries without a web address are left out. */
function readResults(entries: unknown, snippetField: string): WebResult[] {
  if (!Array.isArray(entries)) return [];
  return entries.flatMap((entry: Record<string, unknown> | null) => {
    const url = entry?.['url'];
    if (typeof url !== 'string' || url.length > CHARS.url || !/^https?:\/\//i.test(url) || !URL.canParse(url))
      return [];
    const title = clip(plainText(entry!['title']), CHARS.title) || url;
    return [{ url, title, snippet: clip(plainText(entry![snippetField]), CHARS.snippet) }];
  });
}

const ENTITIES: Record<string, string> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  '#39': "'",
  '#x27': "'",
  nbsp: ' ',
};

/** Engines mark the found words with tags and escape the rest. */
function plainText(value: unknown): string {
  if (typeof value !== 'string') return '';
  return value
    .replace(/<\/?[a-z][^<>]{0,100}>/gi, '')
    .replace(
      /&(amp|lt|gt|quot|#39|#x27|nbsp);/gi,
      (whole, name: string) => ENTITIES[name.toLowerCase()] ?? whole,
    )
    .replace(/\s+/g, ' ')
    .trim();
}

function failureOf(provider: string, error: unknown): unknown {
  if (!(error instanceof BatonError)) return error;
  if (!error.retryable && error.status < 500)
    return new ToolFailure(
      'web_search_refused',
      `${provider} refused the search (${error.status}); its address or key may be wrong. Go on with the other tools.`,
    );
  return new ToolFailure(
    'web_search_unavailable',
    `${provider} did not answer usefully (${error.code}). Go on with the other tools.`,
  );
}
