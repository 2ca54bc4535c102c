import { defineTool, type Tool } from '#libs/tools';
import type { WebSearch } from './web-providers.js';

const DEFAULT_RESULTS = 10;

export const webSearchTool = (search: WebSearch): Tool =>
  defineTool<{ query: string; num_results?: number }>({
    name: 'web_search',
    version: '2.1.0',
    description:
      'Searches the public web and returns ranked results with their address, title and a snippet to cite. Use it for ' +
      'current events and for anything that the indexed documents do not cover.',
    effect: 'read',
    parameters: {
      type: 'object',
      properties: {
        query: { type: 'string', minLength: 1, maxLength: 500, description: 'Words to search for' },
        num_results: { type: 'integer', minimum: 1, maximum: 20, default: DEFAULT_RESULTS },
      },
      required: ['query'],
      additionalProperties: false,
    },
    returns: {
      type: 'array',
      maxItems: 20,
      items: {
        type: 'object',
        properties: { url: { type: 'string' }, title: { type: 'string' }, snippet: { type: 'string' } },
        required: ['url', 'title', 'snippet'],
      },
    },
    rateLimit: 60,
    timeoutMs: 8000,
    handler: ({ query, num_results = DEFAULT_RESULTS }, { signal }) => search(query, num_results, signal),
  });
