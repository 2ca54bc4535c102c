import { createHash, randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { RetryableError, TerminalError, type AgentTask, type TaskStatus } from '#libs/contracts';
import { failpoint, Readiness } from '#libs/chassis';
import { Backlog } from './backlog.js';
import { AGENT, type Agent } from './agent.js';
import { Dispatcher } from './dispatcher.js';
import { TaskRepository } from './store/task.repository.js';

export interface Acceptance {
  taskId: string;
  status: TaskStatus;
  /** False when the idempotency key named a task that was there before. */
  created: boolean;
}

/** The one way into an agent: every door calls `accept`, and after it nothing knows which door it was. */
@Injectable()
export class Intake {
  private readonly keysInFlight = new Set<string>();

  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(TaskRepository) private readonly tasks: TaskRepository,
    @Inject(Dispatcher) private readonly dispatcher: Dispatcher,
    @Inject(Backlog) private readonly backlog: Backlog,
    @Inject(Readiness) private readonly readiness: Readiness,
  ) {}

  /**
   * When it resolves the task is committed and will be finished.
   * @throws RetryableError `draining` (503), `backlog-full` (429), `database-unavailable` (503)
   * @throws TerminalError `idempotency-key-in-flight` (409): the same key is being accepted right now;
   *   `idempotency-key-reused` (422): the key belongs to another request
   */
  async accept(task: AgentTask): Promise<Acceptance> {
    if (this.readiness.isDraining)
      throw new RetryableError('draining', 'This instance is stopping', { retryAfterMs: 1000 });
    return task.idempotencyKey === null
      ? this.commit(task)
      : this.commitOnce(task, JSON.stringify([task.tenant, task.idempotencyKey]));
  }

  private async commitOnce(task: AgentTask, key: string): Promise<Acceptance> {
    if (this.keysInFlight.has(key))
      throw new TerminalError(
        'idempotency-key-in-flight',
        'A request with this Idempotency-Key is being accepted; ask again',
        {
          status: 409,
          headers: { 'retry-after': '1' },
        },
      );
    this.keysInFlight.add(key);
    try {
      return await this.commit(task);
    } finally {
      this.keysInFlight.delete(key);
    }
  }

  /** A key that has its task already costs nothing new: it is let in whatever waits. */
  private async admit({ tenant, idempotencyKey }: AgentTask): Promise<void> {
    try {
      await this.backlog.admit(tenant);
    } catch (refusal) {
      if (idempotencyKey === null || !(await this.tasks.hasKey(tenant, idempotencyKey))) throw refusal;
    }
  }

  private async commit(task: AgentTask): Promise<Acceptance> {
    await this.admit(task);
    const id = randomUUID();
    await failpoint('intake.before-commit');
    const requestHash = hashOf(task);
    const accepted = await this.tasks.accept({
      ...task,
      id,
      agentId: this.agent.definition.id,
      sessionId: task.sessionId ?? id,
      ownSession: task.sessionId === null,
      requestHash: `${this.agent.definition.id}:${requestHash}`,
      timeoutMs: this.agent.config.TASK_TIMEOUT_MS,
    });
    await failpoint('intake.after-commit');
    if (accepted.created) {
      this.backlog.accepted(task.tenant);
      this.dispatcher.begin({ taskId: id, dispatchNo: 1 });
    } else if (accepted.requestHash !== `${this.agent.definition.id}:${requestHash}`) {
      throw new TerminalError(
        'idempotency-key-reused',
        'This Idempotency-Key was used with another request',
        { status: 422 },
      );
    }
    return { taskId: accepted.id, status: accepted.status, created: accepted.created };
  }
}

/** Everything that makes two requests the same, and nothing else (not the trace). */
function hashOf({ userId, sessionId, prompt, metadata, maxSteps, tokenBudget }: AgentTask): string {
  const sorted = Object.entries(metadata).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([userId, sessionId, prompt, sorted, maxSteps, tokenBudget]))
    .digest('base64url');
}
