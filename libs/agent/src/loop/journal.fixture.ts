import type {
  EntryBody,
  FinishReason,
  ModelEntry,
  ModelToolCall,
  ToolOutcome,
  ToolsEntry,
} from '#libs/contracts';
import { replay, type RunState } from './state.js';

export const LIMITS = { maxSteps: 10, tokenBudget: 8192 };

export const call = (name = 'lookup', args = '{}', id = 'call_0'): ModelToolCall => ({
  id,
  name,
  arguments: args,
});

/** A model's reply of 100 tokens. */
export const reply = (more: Partial<ModelEntry> = {}): ModelEntry => ({
  kind: 'model',
  content: null,
  tool_calls: [],
  finish_reason: (more.tool_calls?.length ?? 0) > 0 ? 'tool_calls' : ('stop' satisfies FinishReason),
  usage: { prompt_tokens: 80, completion_tokens: 20 },
  model: 'scripted',
  duration_ms: 1,
  ...more,
});

/** Results for every call of a reply. */
export const results = (
  { tool_calls: calls }: ModelEntry,
  outcome: (call: ModelToolCall) => ToolOutcome = () => ({ ok: true, result: 'found' }),
): ToolsEntry => ({
  kind: 'tools',
  results: calls.map((one) => ({ call_id: one.id, name: one.name, duration_ms: 1, outcome: outcome(one) })),
});

/** The state after these entries. */
export const after = (...bodies: EntryBody[]): RunState => replay(bodies);
