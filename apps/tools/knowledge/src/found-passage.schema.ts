import type { JsonSchema } from '#libs/contracts';

/** What the tools that search documents take. */
export const QUESTION_SCHEMA: JsonSchema = {
  type: 'object',
  properties: {
    query: {
      type: 'string',
      minLength: 1,
      maxLength: 500,
      description: 'The question, or words of the wanted passage',
    },
    num_results: {
      type: 'integer',
      minimum: 1,
      maximum: 20,
      default: 5,
      description: 'How many passages at most',
    },
  },
  required: ['query'],
  additionalProperties: false,
};

/** What they return, best first. */
export const PASSAGES_SCHEMA: JsonSchema = {
  type: 'array',
  maxItems: 20,
  items: {
    type: 'object',
    properties: {
      title: { type: 'string', description: 'Title of the document' },
      path: { type: 'string', description: 'Path of the document, to cite it by' },
      heading: { type: 'string', description: 'The headings above the passage' },
      text: { type: 'string', description: 'The passage' },
      score: { type: 'number', description: 'How well it fits, 0 to 1; comparable within one answer only' },
    },
    required: ['title', 'path', 'heading', 'text', 'score'],
  },
};

export interface Question {
  query: string;
  num_results?: number;
}

export const DEFAULT_RESULTS = 5;
