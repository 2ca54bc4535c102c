import { TerminalError, validationError } from './errors.js';

export const TASK_STATUSES = ['pending', 'running', 'completed', 'failed', 'cancelled'] as const;
export type TaskStatus = (typeof TASK_STATUSES)[number];

export function isTerminal(status: TaskStatus): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}

/** Bounds of a task; every door enforces the same ones. Lengths are in UTF-16 code units, tokens as the model counts them. */
export const TASK_LIMITS = {
  promptChars: 100_000,
  sessionIdChars: 128,
  idempotencyKeyChars: 255,
  metadataKeys: 64,
  metadataKeyChars: 64,
  metadataValueChars: 1024,
  maxSteps: { min: 1, max: 25, default: 10 },
  tokenBudget: { min: 512, max: 32_768, default: 8192 },
} as const;

/** What a client may name a session. */
export const SESSION_ID = new RegExp(`^[A-Za-z0-9._@-]{1,${TASK_LIMITS.sessionIdChars}}$`);

/** A UUID of any version. */
export const TASK_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** A task's id as it is stored, from a request's path. @throws TerminalError `validation` (400) when it is no UUID */
export function parseTaskId(text: string): string {
  if (!TASK_ID.test(text)) throw validationError([{ field: 'task_id', message: 'task_id must be a UUID' }]);
  return text.toLowerCase();
}

/** Also for what the caller may not see. */
export function taskNotFound(): TerminalError {
  return new TerminalError('task-not-found', 'There is no such task', { status: 404 });
}

/** What every door turns a request into. Tenant and user come from the caller's token alone. */
export interface AgentTask {
  /** UUID that the caller gives its task: sent again, it is the same task. Null: the agent makes one. */
  id: string | null;
  tenant: string;
  userId: string | null;
  scopes: readonly string[];
  /** The caller's token, with which the agent acts for it; useless to anybody but this agent, and kept until the task ends. */
  subjectToken: string | null;
  sessionId: string | null;
  prompt: string;
  metadata: Record<string, string>;
  maxSteps: number;
  tokenBudget: number;
  idempotencyKey: string | null;
  /** Milliseconds from the acceptance in which the task has to end, at most the agent's `TASK_TIMEOUT_MS`; null: just that. */
  timeoutMs: number | null;
  /** Caller whose topic `agent.results.<caller>` gets the result; null: nobody. */
  replyTo: string | null;
  /** Each step goes to `replyTo`, too. */
  streamSteps: boolean;
  /** How often the task was sent again after it had failed. */
  retryCount: number;
  traceparent: string | null;
}

/** The result of a task as every door and the CLI's `--json` show it. */
export interface AgentResult {
  task_id: string;
  status: TaskStatus;
  output: string | null;
  /** Stable code, e.g. `token_budget_exceeded`, `max_steps_reached`; null when nothing went wrong. */
  error: string | null;
  steps_used: number;
  tokens_used: number;
  tool_calls: number;
  /** Milliseconds from acceptance to the terminal state. */
  duration_ms: number;
}

/** `GET /tasks/{id}`: the result plus what the task was. */
export interface TaskView extends AgentResult {
  agent_id: string;
  session_id: string;
  /** For people: why the task failed; null otherwise. */
  error_detail: string | null;
  cancel_requested: boolean;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

/** `GET /tasks`: newest first; `next_cursor` is null on the last page. */
export interface TaskPage {
  tasks: TaskView[];
  next_cursor: string | null;
}

/** What an agent says of itself: `GET /agent` of every agent, gathered by the gateway at `/v1/agents`. */
export interface AgentCard {
  id: string;
  name: string;
  description: string;
  tools: string[];
  limits: { max_steps: number; token_budget: number };
  model: string;
  /** True when the scripted development model answers instead of a real one. */
  scripted: boolean;
}
