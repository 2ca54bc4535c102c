import { defineTool, type Tool } from '#libs/tools';
import { DEFAULT_RESULTS, PASSAGES_SCHEMA, QUESTION_SCHEMA, type Question } from './found-passage.schema.js';
import type { PassageSearch } from './passage-search.js';

export const knowledgeBaseTool = (search: PassageSearch): Tool =>
  defineTool<Question>({
    name: 'knowledge_base',
    version: '1.0.0',
    description:
      'Searches the indexed documents by words and returns the passages that fit best, with their document and heading ' +
      'to cite. Takes a natural-language question or keywords; "quotes" keep words together and -word leaves passages out. ' +
      'Use it first for questions about the documents, for names, identifiers and exact terms.',
    effect: 'read',
    parameters: QUESTION_SCHEMA,
    returns: PASSAGES_SCHEMA,
    rateLimit: 300,
    timeoutMs: 8000,
    handler: ({ query, num_results = DEFAULT_RESULTS }, { tenant }) =>
      search.byWords(tenant, query, num_results),
  });
