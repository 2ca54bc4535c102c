import { BatonError } from '#libs/contracts';
import { defineTool, ToolFailure, type Tool } from '#libs/tools';
import { DEFAULT_RESULTS, PASSAGES_SCHEMA, QUESTION_SCHEMA, type Question } from './found-passage.schema.js';
import type { PassageSearch } from './passage-search.js';

export const vectorSearchTool = (search: PassageSearch): Tool =>
  defineTool<Question>({
    name: 'vector_search',
    version: '1.0.0',
    description:
      'Finds passages of the indexed documents that are similar in meaning or wording to the query, with their document ' +
      'and heading to cite. Describe what the wanted passage says in a sentence. Use it when a search by words finds too ' +
      'little, or for the same idea in other words.',
    effect: 'read',
    parameters: QUESTION_SCHEMA,
    returns: PASSAGES_SCHEMA,
    rateLimit: 300,
    timeoutMs: 10_000,
    handler: async ({ query, num_results = DEFAULT_RESULTS }, { tenant, signal }) => {
      try {
        return await search.byNearness(tenant, query, num_results, signal);
      } catch (error) {
        if (!(error instanceof BatonError) || !error.code.startsWith('model_')) throw error;
        throw new ToolFailure(
          error.code,
          'The embedding model does not answer; search by words with knowledge_base instead.',
        );
      }
    },
  });
