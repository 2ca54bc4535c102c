import type { Subject } from '#libs/auth';

/** What was asked, and for whom. */
export interface TaskFacts extends Subject {
  id: string;
  sessionId: string;
  prompt: string;
  metadata: Record<string, string>;
  maxSteps: number;
  tokenBudget: number;
  traceparent: string | null;
  replyTo: string | null;
  streamSteps: boolean;
  retryCount: number;
}

/** A task under a lease. `epoch` fences every write: whoever claims the task next has a higher one. */
export interface ClaimedTask extends TaskFacts {
  epoch: number;
  /** Milliseconds since its acceptance, by the database's clock. */
  elapsedMs: number;
  cancelRequested: boolean;
  /** How often in a row a worker died on this task without adding an entry. */
  crashes: number;
  /** Milliseconds to the deadline, by the database's clock; negative when it has passed. */
  remainingMs: number;
  /** False for the first claim: there is no journal to read. */
  resumed: boolean;
}

/** A task under one lease: what another epoch wrote is no answer to it. */
export const heldKey = ({ id, epoch }: { id: string; epoch: number }): string => `${id}:${epoch}`;

export interface FactsRow {
  id: string;
  tenant: string;
  user_id: string | null;
  scopes: string | null;
  subject_token: string | null;
  session_id: string;
  prompt: string;
  metadata: Record<string, string>;
  max_steps: number;
  token_budget: number;
  traceparent: string | null;
  reply_to: string | null;
  stream_steps: boolean;
  retry_count: number;
}

export interface ClaimRow extends FactsRow {
  epoch: number;
  elapsed_ms: number;
  cancel_requested: boolean;
  crashes: number;
  remaining_ms: number;
}

export function factsOf(row: FactsRow): TaskFacts {
  return {
    id: row.id,
    tenant: row.tenant,
    userId: row.user_id,
    scopes: row.scopes?.split(' ').filter(Boolean) ?? [],
    token: row.subject_token,
    sessionId: row.session_id,
    prompt: row.prompt,
    metadata: row.metadata,
    maxSteps: row.max_steps,
    tokenBudget: row.token_budget,
    traceparent: row.traceparent,
    replyTo: row.reply_to,
    streamSteps: row.stream_steps,
    retryCount: row.retry_count,
  };
}

export function claimedOf(row: ClaimRow): ClaimedTask {
  return {
    ...factsOf(row),
    epoch: row.epoch,
    elapsedMs: row.elapsed_ms,
    cancelRequested: row.cancel_requested,
    crashes: row.crashes,
    remainingMs: row.remaining_ms,
    resumed: row.epoch > 1,
  };
}
