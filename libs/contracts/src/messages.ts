import type { FieldError } from './errors.js';
import type { TaskStatus } from './task.js';

/**
 * Messages that services hand to each other. Each is an Avro record of `src/avro/<kind>.avsc` (namespace `com.baton.agents.v1`); the
 * types here name the same fields. Instants are milliseconds since 1970. Who sends, for which tenant and user, stands in
 * the header `authorization` alone.
 */
export interface AgentTaskEvent {
  /** UUID that the task will have: the same event again is the same task. */
  task_id: string;
  source_agent: string;
  /** Must be the owner of the topic. */
  target_agent: string;
  session_id: string;
  prompt: string;
  /** Kept as the task's metadata. */
  context: Record<string, string>;
  created_at: number;
  /** Null: the agent's default. */
  max_steps: number | null;
  token_budget: number | null;
  deadline: number | null;
  /** Caller whose topic `agent.results.<caller>` gets the result. */
  reply_to: string | null;
  /** Each step goes to `reply_to`, too. */
  stream_steps: boolean;
  /** How often the task was sent again after it had failed. */
  retry_count: number;
  last_error: string | null;
}

export interface AgentTaskCancel {
  task_id: string;
  source_agent: string;
  target_agent: string;
  session_id: string;
  created_at: number;
}

export interface AgentStepEvent {
  task_id: string;
  source_agent: string;
  session_id: string;
  /** Place in the journal, from 1 without gaps. */
  sequence: number;
  /** The model call that it belongs to, from 1. */
  step_number: number;
  type: string;
  content: string;
  /** The journal entry as JSON. */
  entry_json: string;
  created_at: number;
}

export interface AgentResultEvent {
  task_id: string;
  source_agent: string;
  session_id: string;
  status: TaskStatus;
  output: string | null;
  error: string | null;
  error_detail: string | null;
  steps_used: number;
  tokens_used: number;
  tool_calls: number;
  duration_ms: number;
  created_at: number;
}

/** A task that failed, or a message that could not become one. */
export interface DeadLetterEvent {
  /** `task-failed`, or the stable code of what was wrong with the message. */
  reason: string;
  last_error: string;
  errors: FieldError[];
  retry_count: number;
  /** The same task may succeed later. */
  auto_retry_eligible: boolean;
  /** The service that gave up. */
  reported_by: string;
  target_agent: string | null;
  task_id: string | null;
  session_id: string | null;
  /** The `AgentTaskEvent` as JSON, to be sent again. */
  task_json: string | null;
  topic: string | null;
  partition: number | null;
  offset: number | null;
  message_id: string | null;
  /** Without `authorization`. */
  headers: Record<string, string>;
  /** The first 256 KiB of a message that could not be read, in Base64. */
  payload: string | null;
  payload_bytes: number | null;
  created_at: number;
}

/** What became of a task, for the world: no prompt, no answer. */
export interface AgentEvent {
  type: 'task.accepted' | 'task.completed' | 'task.failed' | 'task.cancelled';
  agent_id: string;
  task_id: string;
  session_id: string;
  tenant: string;
  status: TaskStatus;
  error: string | null;
  steps_used: number;
  tokens_used: number;
  tool_calls: number;
  duration_ms: number | null;
  created_at: number;
}

/** The bodies by their kind, which is the name of their Avro record. */
export interface MessageBodies {
  AgentTaskEvent: AgentTaskEvent;
  AgentTaskCancel: AgentTaskCancel;
  AgentStepEvent: AgentStepEvent;
  AgentResultEvent: AgentResultEvent;
  DeadLetterEvent: DeadLetterEvent;
  AgentEvent: AgentEvent;
}

export type MessageKind = keyof MessageBodies;

export const MESSAGE_KINDS = [
  'AgentTaskEvent',
  'AgentTaskCancel',
  'AgentStepEvent',
  'AgentResultEvent',
  'DeadLetterEvent',
  'AgentEvent',
] as const satisfies readonly MessageKind[];

export const AVRO_NAMESPACE = 'com.baton.agents.v1';

const TASKS = 'agent.tasks.';
const RESULTS = 'agent.results.';
export const DEAD_LETTERS_TOPIC = 'agent.dead-letters';
export const EVENTS_TOPIC = 'agent.events';

/** Days for which a topic keeps a message, at least. */
export const TOPIC_RETENTION_DAYS = 7;
/** A segment is deleted when its newest message is that old, and its oldest may be so much older. */
export const TOPIC_SEGMENT_DAYS = 1;
/** Days after which no topic has a message any more: so long its token has to be verifiable, and inboxes have to remember it. */
export const LONGEST_MESSAGE_DAYS = TOPIC_RETENTION_DAYS + TOPIC_SEGMENT_DAYS;

/** Where the agent takes tasks and cancels: `agent.tasks.search` of `agent-search`. */
export const tasksTopic = (agentId: string): string => TASKS + agentId.replace(/^agent-/, '');

/** Where a caller gets results and steps: `agent.results.orchestrator`, `agent.results.agent-search`. */
export const resultsTopic = (caller: string): string => RESULTS + caller;

/** Which records belong into a topic; none for a topic that is not one of Baton's. */
export function kindsOf(topic: string): readonly MessageKind[] {
  if (topic.startsWith(TASKS)) return ['AgentTaskEvent', 'AgentTaskCancel'];
  if (topic.startsWith(RESULTS)) return ['AgentResultEvent', 'AgentStepEvent'];
  if (topic === DEAD_LETTERS_TOPIC) return ['DeadLetterEvent'];
  return topic === EVENTS_TOPIC ? ['AgentEvent'] : [];
}

/**
 * The service that the message is meant for, and so the audience of the token in its header;
 * null for `agent.events`, which is for the world and carries no token.
 */
export function recipientOf(topic: string, body: object): string | null {
  if (topic.startsWith(TASKS)) return (body as AgentTaskEvent | AgentTaskCancel).target_agent;
  if (topic.startsWith(RESULTS)) return topic.slice(RESULTS.length);
  return topic === DEAD_LETTERS_TOPIC ? 'dead-letters' : null;
}
