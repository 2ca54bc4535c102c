import type { ModelToolCall, TokenUsage } from '#libs/contracts';
import { fnv1a } from '#libs/llm';
import type { ChatRequest } from './chat-request.js';
import { countTokens, firstTokens } from './tokens.js';

/** What is answered; `usage` null is left out. */
export interface Completion {
  content: string | null;
  toolCalls: ModelToolCall[];
  finishReason: string;
  usage: TokenUsage | null;
}

/** What rules or a scenario say, before limits and accounting. */
export interface Draft {
  content: string | null;
  toolCalls: ModelToolCall[];
  finishReason?: string;
  usage?: TokenUsage | null;
}

/** Applies `tool_choice: none` and the token limit, and counts. */
export function complete(request: ChatRequest, draft: Draft): Completion {
  const toolCalls = request.toolChoice === 'none' ? [] : draft.toolCalls;
  const content = draft.content ?? (toolCalls.length > 0 ? null : '');
  const tokens = tokensOf(content, toolCalls);
  const { maxTokens, promptTokens } = request;
  if (maxTokens !== null && tokens > maxTokens)
    return {
      content: firstTokens(content ?? '', maxTokens),
      toolCalls: [],
      finishReason: 'length',
      usage:
        draft.usage === undefined
          ? { prompt_tokens: promptTokens, completion_tokens: maxTokens }
          : draft.usage,
    };
  return {
    content,
    toolCalls,
    finishReason: draft.finishReason ?? (toolCalls.length > 0 ? 'tool_calls' : 'stop'),
    usage:
      draft.usage === undefined ? { prompt_tokens: promptTokens, completion_tokens: tokens } : draft.usage,
  };
}

function tokensOf(content: string | null, toolCalls: ModelToolCall[]): number {
  return toolCalls.reduce(
    (sum, call) => sum + countTokens(call.name) + countTokens(call.arguments),
    countTokens(content ?? ''),
  );
}

/** The same conversation, step and place give the same id on every machine; `variant` tells repeated attempts apart. */
export function toolCallId(request: ChatRequest, index: number, variant = 0): string {
  const place = fnv1a(request.question).toString(16).padStart(8, '0');
  return `call_${place}_${request.step}_${index}${variant > 0 ? `_${variant}` : ''}`;
}

/** The completion's first `chars` characters of content and arguments. */
export function beginningOf(completion: Completion, chars: number): Completion {
  const content = completion.content?.slice(0, chars) ?? null;
  let left = chars - (content?.length ?? 0);
  const toolCalls: ModelToolCall[] = [];
  for (const call of completion.toolCalls) {
    if (left <= 0) break;
    toolCalls.push({ ...call, arguments: call.arguments.slice(0, left) });
    left -= call.arguments.length;
  }
  return { ...completion, content, toolCalls };
}
