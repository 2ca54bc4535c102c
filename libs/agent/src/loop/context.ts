import type { ToolOutcome } from '#libs/contracts';
import type { ChatMessage, ToolSpec } from '#libs/llm';
import type { RunState, Turn } from './state.js';

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
  for (const turn of state.turns) messages.push(...messagesOf(turn));
  return messages;
}

/** A turn never changes, and every later model call shows it again: it is put into words and measured once. */
const shown = new WeakMap<Turn, ChatMessage[]>();
const sizes = new WeakMap<object, number>();

function messagesOf(turn: Turn): ChatMessage[] {
  let messages = shown.get(turn);
  if (!messages) {
    const { reply, results } = turn;
    messages = [{ role: 'assistant', content: reply.content, tool_calls: reply.tool_calls }];
    for (const { call_id, outcome } of results?.results ?? [])
      messages.push({ role: 'tool', tool_call_id: call_id, content: JSON.stringify(outcome) });
    shown.set(turn, messages);
  }
  return messages;
}

/** Tokens of a prompt, estimated from its bytes: exact counts come with the reply's usage. */
export function estimateTokens(messages: ChatMessage[], tools: ToolSpec[]): number {
  let bytes = tools.length > 0 ? sizeOf(tools, jsonBytes) : 0;
  for (const message of messages) bytes += sizeOf(message, messageBytes);
  return Math.ceil(bytes / BYTES_PER_TOKEN) + messages.length * MESSAGE_TOKENS;
}

function sizeOf<T extends object>(part: T, measure: (part: T) => number): number {
  let size = sizes.get(part);
  if (size === undefined) sizes.set(part, (size = measure(part)));
  return size;
}

const jsonBytes = (value: object) => Buffer.byteLength(JSON.stringify(value));

function messageBytes(message: ChatMessage): number {
  const bytes = Buffer.byteLength(message.content ?? '');
  const calls = message.role === 'assistant' ? message.tool_calls : [];
  return calls.length > 0 ? bytes + jsonBytes(calls) : bytes;
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
