import type { ChatRequest } from './chat-request.js';
import type { Completion } from './completion.js';

/** The members that every object of one answer begins with, as JSON text without its braces. */
function preamble(object: string, model: string): string {
  const created = Math.floor(Date.now() / 1000);
  return `"id":"chatcmpl-scripted","object":"${object}","created":${created},"model":${JSON.stringify(model)}`;
}

function usageOf({ usage }: Completion) {
  return usage && { ...usage, total_tokens: usage.prompt_tokens + usage.completion_tokens };
}

/** The answer as one JSON text. */
export function wholeAnswer(request: ChatRequest, completion: Completion): string {
  const calls = completion.toolCalls.map(({ id, name, arguments: args }) => ({
    id,
    type: 'function',
    function: { name, arguments: args },
  }));
  const message = {
    role: 'assistant',
    content: completion.content,
    refusal: null,
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
  const choices = [{ index: 0, message, logprobs: null, finish_reason: completion.finishReason }];
  const usage = usageOf(completion);
  return (
    `{${preamble('chat.completion', request.model)},"choices":${JSON.stringify(choices)}` +
    `${usage ? `,"usage":${JSON.stringify(usage)}` : ''}}`
  );
}

/** The answer as server-sent events: its deltas of at most `chunkChars` characters, and its end. */
export function streamedAnswer(request: ChatRequest, completion: Completion, chunkChars: number) {
  const start = `data: {${preamble('chat.completion.chunk', request.model)},"choices":`;
  const event = (delta: object, finishReason: string | null) =>
    `${start}[{"index":0,"delta":${JSON.stringify(delta)},"finish_reason":${JSON.stringify(finishReason)}}]}\n\n`;
  const deltas = [event({ role: 'assistant', content: completion.content === null ? null : '' }, null)];
  for (const piece of piecesOf(completion.content ?? '', chunkChars))
    deltas.push(event({ content: piece }, null));
  for (const [index, call] of completion.toolCalls.entries()) {
    const [first = '', ...rest] = piecesOf(call.arguments, chunkChars);
    const opening = { index, id: call.id, type: 'function', function: { name: call.name, arguments: first } };
    deltas.push(event({ tool_calls: [opening] }, null));
    for (const piece of rest)
      deltas.push(event({ tool_calls: [{ index, function: { arguments: piece } }] }, null));
  }
  const usage = request.includeUsage ? usageOf(completion) : null;
  const usageEvent = usage ? `${start}[],"usage":${JSON.stringify(usage)}}\n\n` : '';
  return { deltas, end: `${event({}, completion.finishReason)}${usageEvent}data: [DONE]\n\n` };
}

function piecesOf(text: string, chars: number): string[] {
  if (text.length <= chars) return text === '' ? [] : [text];
  const pieces: string[] = [];
  for (let at = 0; at < text.length; at += chars) pieces.push(text.slice(at, at + chars));
  return pieces;
}
