import OpenAI from 'openai';
import { Agent } from 'undici';
import { leanFetch } from './lean-fetch.js';

export interface OpenAiEndpoint {
  apiKey: string;
  /** With the version, e.g. `https://api.openai.com/v1`. */
  baseUrl: string;
}

export interface OpenAiConnection {
  client: OpenAI;
  /** Ends every connection; calls under way fail. */
  close(): Promise<void>;
}

/** One SDK client over its own keep-alive connections. Deadlines are the caller's: the SDK's and undici's are off. */
export function connectOpenAi(endpoint: OpenAiEndpoint): OpenAiConnection {
  const agent = new Agent({
    connections: 2048,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    connectTimeout: 5_000,
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const client = new OpenAI({
    apiKey: endpoint.apiKey,
    baseURL: endpoint.baseUrl,
    organization: null,
    project: null,
    maxRetries: 0,
    // The SDK logs chunks that it cannot parse, which are a model's output.
    logLevel: 'off',
    fetch: leanFetch(agent),
  });
  return { client, close: () => agent.destroy() };
}
