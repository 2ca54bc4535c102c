import type { Principal } from '#libs/auth';
import type { AgentTask, SubmitTaskDto } from '#libs/contracts';
import type { AgentDefinition } from '../definition.js';

/** What a door knows of a request besides its body. */
export type AgentTaskExtras = Partial<
  Pick<
    AgentTask,
    'id' | 'idempotencyKey' | 'timeoutMs' | 'replyTo' | 'streamSteps' | 'retryCount' | 'traceparent'
  >
>;

/** A validated request as the `AgentTask` that `Intake.accept` takes: the same for every door. */
export function agentTaskOf(
  request: SubmitTaskDto,
  { tenant, userId, scopes, token }: Principal,
  { limits }: AgentDefinition,
  extras: AgentTaskExtras = {},
): AgentTask {
  return {
    id: null,
    idempotencyKey: null,
    timeoutMs: null,
    replyTo: null,
    streamSteps: false,
    retryCount: 0,
    traceparent: null,
    ...extras,
    tenant,
    userId,
    scopes,
    subjectToken: token,
    sessionId: request.session_id ?? null,
    prompt: request.prompt.toWellFormed(),
    metadata: wellFormed(request.metadata ?? {}),
    maxSteps: request.max_steps ?? limits.maxSteps,
    tokenBudget: request.token_budget ?? limits.tokenBudget,
  };
}

/** Postgres stores no halves of surrogate pairs. */
function wellFormed(metadata: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [key.toWellFormed(), value.toWellFormed()]),
  );
}
