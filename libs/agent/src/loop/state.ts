import type { EntryBody, FinishEntry, ModelEntry, ToolsEntry } from '#libs/contracts';

/** A model's reply with the results of its calls: they enter and leave the context together. */
export interface Turn {
  reply: ModelEntry;
  results: ToolsEntry | null;
}

/** What a journal amounts to. */
export interface RunState {
  /** Sequence of the last entry; 0 before the first. */
  seq: number;
  turns: Turn[];
  tokensUsed: number;
  toolCalls: number;
  finish: FinishEntry | null;
}

export const INITIAL: RunState = { seq: 0, turns: [], tokensUsed: 0, toolCalls: 0, finish: null };

/** The pure fold: starting, resuming and replaying a run all end up here. */
export function apply(state: RunState, body: EntryBody): RunState {
  const seq = state.seq + 1;
  switch (body.kind) {
    case 'model':
      return {
        ...state,
        seq,
        turns: [...state.turns, { reply: body, results: null }],
        tokensUsed: state.tokensUsed + body.usage.prompt_tokens + body.usage.completion_tokens,
      };
    case 'tools': {
      const last = state.turns.at(-1);
      if (!last || last.results) throw new Error('journal: tool results without a reply that asked for them');
      return {
        ...state,
        seq,
        turns: [...state.turns.slice(0, -1), { reply: last.reply, results: body }],
        toolCalls: state.toolCalls + body.results.length,
      };
    }
    case 'finish':
      return { ...state, seq, finish: body };
  }
}

export function replay(bodies: Iterable<EntryBody>): RunState {
  let state = INITIAL;
  for (const body of bodies) state = apply(state, body);
  return state;
}
