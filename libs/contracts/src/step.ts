import type { EntryBody } from './journal.js';

/** What a journal entry is to somebody who follows the steps of a task over gRPC or in messages. */
export interface Step {
  type: 'llm_call' | 'tool_result' | 'finish';
  /** For people: the model's words, what its tools answered, the result. */
  content: string;
}

export function stepOf(body: EntryBody): Step {
  switch (body.kind) {
    case 'model':
      return { type: 'llm_call', content: body.content ?? '' };
    case 'tools':
      return {
        type: 'tool_result',
        content: body.results
          .map(({ name, outcome }) => `${name}: ${outcome.ok ? 'ok' : outcome.code}`)
          .join('\n'),
      };
    case 'finish':
      return { type: 'finish', content: body.result.output ?? '' };
  }
}
