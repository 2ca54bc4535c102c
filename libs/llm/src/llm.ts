import type { FinishReason, JsonSchema, ModelToolCall, TokenUsage } from '#libs/contracts';

/** Injection token of the `Llm` port. */
export const LLM = Symbol('Llm');

/** A message in provider-neutral form; adapters translate at the call boundary and nowhere else. */
export type ChatMessage =
  | { role: 'system' | 'user'; content: string }
  | { role: 'assistant'; content: string | null; tool_calls: ModelToolCall[] }
  | { role: 'tool'; tool_call_id: string; content: string };

export interface ToolSpec {
  name: string;
  description: string;
  parameters: JsonSchema;
}

export interface ChatRequest {
  messages: ChatMessage[];
  tools: ToolSpec[];
  /** Upper bound of completion tokens, ≥ 1. */
  maxTokens: number;
  /** Aborting it ends the call with the signal's reason. */
  signal: AbortSignal;
  /** Milliseconds for the whole call, streaming included. */
  timeoutMs: number;
  /** Called with each piece of text as it streams in. */
  onDelta?: (text: string) => void;
  traceparent?: string | null;
}

export interface ChatReply {
  content: string | null;
  toolCalls: ModelToolCall[];
  finishReason: FinishReason;
  usage: TokenUsage;
  model: string;
}

export interface ModelState {
  ok: boolean;
  model: string;
  scripted: boolean;
  /** Why it is not ok. */
  cause?: string;
}

/**
 * A chat model. Errors: `RetryableError` (`model_rate_limited` with retryAfterMs, `model_unavailable` for 5xx,
 * refused connections and cut streams, `model_timeout`) and `TerminalError` (`model_request_rejected` for other 4xx).
 * It never retries by itself.
 */
export interface Llm {
  complete(request: ChatRequest): Promise<ChatReply>;
  /** The last known state, refreshed in the background at most every 10 s; never waits for the model. */
  state(): ModelState;
}
