import type { ModelToolCall, TaskStatus } from '#libs/contracts';
import type { RunState, Turn } from './state.js';

/** How a run ends. */
export interface Ending {
  status: Extract<TaskStatus, 'completed' | 'failed' | 'cancelled'>;
  output: string | null;
  error: string | null;
  detail: string | null;
  /** The same task may succeed later. */
  retryable?: boolean;
}

export type Action =
  | { do: 'model'; maxTokens: number }
  | { do: 'tools'; calls: ModelToolCall[] }
  | { do: 'finish'; ending: Ending }
  | { do: 'nothing' };

export interface RunLimits {
  maxSteps: number;
  tokenBudget: number;
}

/** A reply shorter than this is not worth its prompt. */
const MIN_REPLY_TOKENS = 16;
/** A model that writes unreadable arguments is told so once; the second time in a row the run fails. */
const MALFORMED_TURNS = 2;

/**
 * What comes next: a pure function of the state.
 * @param promptTokens estimates what the next prompt costs; asked only when a model call is due.
 */
export function next(state: RunState, limits: RunLimits, promptTokens: () => number): Action {
  if (state.finish) return { do: 'nothing' };
  const last = state.turns.at(-1);
  if (last && !last.results) {
    const ending = endingOf(last, state, limits);
    return ending ? { do: 'finish', ending } : { do: 'tools', calls: last.reply.tool_calls };
  }
  const prompt = promptTokens();
  const maxTokens = limits.tokenBudget - state.tokensUsed - prompt;
  return maxTokens < MIN_REPLY_TOKENS
    ? finish(budgetExceeded(state, limits, prompt + MIN_REPLY_TOKENS))
    : { do: 'model', maxTokens };
}

/** Decides on a reply whose calls (if any) have not been answered; null when they are to be made. */
function endingOf({ reply }: Turn, state: RunState, limits: RunLimits): Ending | null {
  const spent = state.tokensUsed >= limits.tokenBudget;
  if (reply.finish_reason === 'content_filter')
    return failed(state, 'content_filtered', "The model's provider withheld the reply");
  // A cut reply's tool calls are cut as well: none of them is made.
  if (reply.finish_reason === 'length')
    return spent
      ? budgetExceeded(state, limits)
      : failed(state, 'output_truncated', 'The model stopped at its output limit');
  if (reply.tool_calls.length === 0) {
    if (!reply.content?.trim()) return failed(state, 'empty_reply', 'The model ended without an answer');
    return { status: 'completed', output: reply.content, error: null, detail: null };
  }
  // Also its readable calls are not made: nobody would learn of their effects.
  if (malformedTurns(state.turns) >= MALFORMED_TURNS)
    return failed(
      state,
      'tool_arguments_malformed',
      'The model wrote tool arguments that are not JSON objects, again after it was told',
    );
  if (spent) return budgetExceeded(state, limits);
  // Results that no later step can read are not worth their effects.
  if (state.turns.length >= limits.maxSteps)
    return {
      status: 'completed',
      output: bestOutput(state),
      error: 'max_steps_reached',
      detail: `No answer within ${limits.maxSteps} steps`,
    };
  return null;
}

const finish = (ending: Ending): Action => ({ do: 'finish', ending });

function failed(state: RunState, error: string, detail: string): Ending {
  return { status: 'failed', output: bestOutput(state), error, detail };
}

/** @param needed tokens of the call that is not made: its prompt and the shortest reply */
function budgetExceeded(state: RunState, { tokenBudget }: RunLimits, needed?: number): Ending {
  const next = needed === undefined ? '' : `, and the next model call needs about ${needed}`;
  return {
    status: 'completed',
    output: bestOutput(state),
    error: 'token_budget_exceeded',
    detail: `Of a token budget of ${tokenBudget} the task used ${state.tokensUsed}${next}`,
  };
}

/** The last text that the model produced, however unfinished. */
export function bestOutput(state: RunState): string | null {
  return state.turns.findLast(({ reply }) => reply.content?.trim())?.reply.content ?? null;
}

function malformedTurns(turns: Turn[]): number {
  let count = 0;
  for (const { reply } of turns.toReversed()) {
    if (!reply.tool_calls.some((call) => parseArguments(call.arguments) === null)) break;
    count += 1;
  }
  return count;
}

/** The arguments that the model wrote, or null when they are not a JSON object. */
export function parseArguments(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text.trim() === '' ? '{}' : text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}
