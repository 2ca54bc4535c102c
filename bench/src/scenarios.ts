import { ANSWER } from './contestant.js';

/** A scripted task of `modelCalls` replies: all but the last call the tool once. */
export function scenario(name: string, modelCalls: number, latencyMs: number): object {
  const usage = { prompt_tokens: 50, completion_tokens: 10 };
  const call = {
    content: 'Looking it up.',
    tool_calls: [{ name: 'lookup', arguments: { query: 'durable' } }],
    usage,
  };
  return {
    name,
    match: `[${name}]`,
    latency_ms: latencyMs,
    steps: [...Array.from({ length: modelCalls - 1 }, () => call), { content: ANSWER, usage }],
  };
}
