import type { AgentResult } from './task.js';
import type { ToolOutcome } from './tool.js';

/** A tool call as the model wrote it; `arguments` is its raw text, not yet known to be JSON. */
export interface ModelToolCall {
  id: string;
  name: string;
  arguments: string;
}

export type FinishReason = 'stop' | 'tool_calls' | 'length' | 'content_filter';

export interface TokenUsage {
  prompt_tokens: number;
  completion_tokens: number;
}

/** A model's reply. `pinned` (first reply only) fixes the tool versions for the rest of the run. */
export interface ModelEntry {
  kind: 'model';
  content: string | null;
  tool_calls: ModelToolCall[];
  finish_reason: FinishReason;
  usage: TokenUsage;
  model: string;
  duration_ms: number;
  pinned?: Record<string, string>;
}

/** The results of all calls of the preceding model entry, in the order of the calls. */
export interface ToolsEntry {
  kind: 'tools';
  results: Array<{ call_id: string; name: string; duration_ms: number; outcome: ToolOutcome }>;
}

/** The terminal entry; nothing follows it. */
export interface FinishEntry {
  kind: 'finish';
  result: AgentResult;
  error_detail: string | null;
}

export type EntryBody = ModelEntry | ToolsEntry | FinishEntry;

/** One line of a run's append-only history. `seq` starts at 1 and has no gaps; it is the SSE event id. */
export interface JournalEntry {
  seq: number;
  at: string;
  body: EntryBody;
}

/** Transient news of a run, not journalled: lost with Redis, without harm. */
export type LiveDelta = LiveText | LiveRetry;

interface LiveText {
  kind: 'delta' | 'model_started' | 'tool_started';
  /** Model text for `delta`; the model's or tool's name otherwise. */
  text: string;
}

/** The run waits before it asks the model or the tool registry again; told again while it waits. */
export interface LiveRetry {
  kind: 'retry';
  /** Of the error, e.g. `model_unavailable`. */
  code: string;
  /** The cause, for people; never a prompt's or a model's words. */
  text: string;
  /** Attempts so far. */
  attempt: number;
  /** After which the task fails; absent where only its deadline ends the attempts. */
  max_attempts?: number;
  /** Milliseconds from now. */
  retry_after_ms: number;
  /** Milliseconds from now to the task's deadline. */
  deadline_ms: number;
}
