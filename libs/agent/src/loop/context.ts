import type { ToolOutcome } from '#libs/contracts';
import type { ChatMessage, ToolSpec } from '#libs/llm';
import type { RunState } from './state.js';

/** Characters of one tool result that reach the model and the journal. */
const RESULT_CHARS = 16_000;
/** Bytes per token of the estimate: low enough to rarely underestimate. */
const BYTES_PER_TOKEN = 4;
/** What a message costs beside its text. */
const MESSAGE_TOKENS = 4;

/** The messages of the next model call: the system prompt, the request, then whole turns. Tool output is only ever a `tool` message. */
export function buildMessages(systemPrompt: string, prompt: string, state: RunState): ChatMessage[] {
  const messages: ChatMessage[] = [
    { role: 'system', content: systemPrompt },
    { role: 'user', content: prompt },
  ];
  for (const { reply, results } of state.turns) {
    messages.push({ role: 'assistant', content: reply.content, tool_calls: reply.tool_calls });
    for (const { call_id, outcome } of results?.results ?? [])
      messages.push({ role: 'tool', tool_call_id: call_id, content: JSON.stringify(outcome) });
  }
  return messages;
}

/** Tokens of a prompt, estimated from its bytes: exact counts come with the reply's usage. */
export function estimateTokens(messages: ChatMessage[], tools: ToolSpec[]): number {
  let bytes = tools.length > 0 ? Buffer.byteLength(JSON.stringify(tools)) : 0;
  for (const message of messages) {
    bytes += Buffer.byteLength(message.content ?? '');
    if (message.role === 'assistant' && message.tool_calls.length > 0)
      bytes += Buffer.byteLength(JSON.stringify(message.tool_calls));
  }
  return Math.ceil(bytes / BYTES_PER_TOKEN) + messages.length * MESSAGE_TOKENS;
}

/** Cuts a large result to its beginning, as text, and says so. */
export function boundOutcome(outcome: ToolOutcome): ToolOutcome {
  if (!outcome.ok) return { ...outcome, message: outcome.message.slice(0, RESULT_CHARS).toWellFormed() };
  const text = JSON.stringify(outcome.result) ?? 'null';
  if (text.length <= RESULT_CHARS) return outcome;
  return {
    ok: true,
    truncated: true,
    result: `${text.slice(0, RESULT_CHARS)}… [cut: ${text.length} characters in all]`.toWellFormed(),
  };
}
