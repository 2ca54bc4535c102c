import { createHash, randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { isTerminal, RetryableError, TerminalError, type AgentTask, type TaskStatus } from '#libs/contracts';
import { failpoint, Readiness } from '#libs/chassis';
import { Backlog } from './backlog.js';
import { AGENT, type Agent } from './agent.js';
import { Dispatcher } from './dispatcher.js';
import { Announcements } from './handoff/announcements.js';
import type { Accepted, InboxEntry, NewTask } from './store/acceptances.js';
import { TaskRepository } from './store/task.repository.js';

export interface Acceptance {
  taskId: string;
  status: TaskStatus;
  /** False when the id or the idempotency key named a task that was there before. */
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
    @Inject(Announcements) private readonly announcements: Announcements,
  ) {}

  /**
   * When it resolves the task is committed and will be finished.
   * @throws RetryableError `draining` (503), `backlog-full` (429), `database-unavailable` (503)
   * @throws TerminalError `idempotency-key-in-flight` (409): the same key is being accepted right now;
   *   `idempotency-key-reused` (422): the key or id belongs to another request; `task-id-taken` (409): the id belongs to another tenant
   */
  async accept(task: AgentTask): Promise<Acceptance> {
    this.assertOpen();
    const accepted =
      task.idempotencyKey === null
        ? await this.commit(task)
        : await this.commitOnce(task, JSON.stringify([task.tenant, task.idempotencyKey]));
    return accepted!;
  }

  /**
   * The same for a task that came in a message: task and inbox row are one commit (P8). Null: the message was seen before, and there is no
   * task of it any more.
   */
  async acceptMessage(task: AgentTask & { id: string }, message: InboxEntry): Promise<Acceptance | null> {
    this.assertOpen();
    return this.commit(task, message);
  }

  private assertOpen(): void {
    if (this.readiness.isDraining)
      throw new RetryableError('draining', 'This instance is stopping', { retryAfterMs: 1000 });
  }

  private async commitOnce(task: AgentTask, key: string): Promise<Acceptance | null> {
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

  /** What has its task already costs nothing new: it is let in whatever waits. */
  private async admit({ tenant, id, idempotencyKey }: AgentTask): Promise<(created: boolean) => void> {
    try {
      return await this.backlog.admit(tenant);
    } catch (refusal) {
      if (!(await this.tasks.isKnown(tenant, id, idempotencyKey))) throw refusal;
      return () => undefined;
    }
  }

  private async commit(task: AgentTask, message?: InboxEntry): Promise<Acceptance | null> {
    const settled = await this.admit(task);
    let acceptance: Acceptance | null = null;
    try {
      acceptance = await this.write(task, message);
      return acceptance;
    } finally {
      settled(acceptance?.created ?? false);
    }
  }

  private async write(task: AgentTask, message?: InboxEntry): Promise<Acceptance | null> {
    const agentId = this.agent.definition.id;
    const id = task.id ?? randomUUID();
    const sessionId = task.sessionId ?? id;
    const longest = this.agent.config.TASK_TIMEOUT_MS;
    const requestHash = `${agentId}:${hashOf(task)}`;
    const fresh: NewTask = {
      ...task,
      id,
      ownId: task.id !== null,
      agentId,
      sessionId,
      ownSession: task.sessionId === null,
      requestHash,
      timeoutMs: Math.min(task.timeoutMs ?? longest, longest),
    };
    const messages = this.announcements.accepted(fresh);
    fresh.messages = messages;
    await failpoint('intake.before-commit');
    const accepted = await (message ? this.tasks.acceptMessage(fresh, message) : this.tasks.accept(fresh));
    await failpoint('intake.after-commit');
    if (!accepted) return null;
    if (accepted.created) {
      this.announcements.written(messages);
      this.dispatcher.begin({ taskId: id, dispatchNo: 1 });
    } else {
      assertSame(accepted, { ...task, requestHash });
      if (message && task.replyTo !== null && isTerminal(accepted.status))
        await this.answerAgain(fresh, message);
    }
    return { taskId: accepted.id, status: accepted.status, created: accepted.created };
  }

  /** Who hands off a task again that has ended lost its result, or never got it. */
  private async answerAgain(task: NewTask, message: InboxEntry): Promise<void> {
    const { id, agentId, tenant } = task;
    const view = await this.tasks.require(id, { agentId, tenant, userId: null });
    const messages = this.announcements.answeredAgain(task, view);
    await this.tasks.answerAgain(message, id, messages);
    this.announcements.written(messages);
  }
}

/** @throws TerminalError when the task that has the id or the key was asked for in other words, or by somebody else */
function assertSame(
  accepted: Accepted,
  { id, tenant, requestHash }: AgentTask & { requestHash: string },
): void {
  if (accepted.tenant !== tenant)
    throw new TerminalError('task-id-taken', 'This task id is taken; choose another', { status: 409 });
  if (accepted.requestHash === requestHash && (id === null || id === accepted.id)) return;
  const what = id === null ? 'Idempotency-Key' : 'task id';
  throw new TerminalError('idempotency-key-reused', `This ${what} was used with another request`, {
    status: 422,
  });
}

/** Everything that makes two requests the same, and nothing else: not the trace, not the time that is left. */
function hashOf(task: AgentTask): string {
  const { userId, sessionId, prompt, metadata, maxSteps, tokenBudget, replyTo, streamSteps } = task;
  const sorted = Object.entries(metadata).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const reply = replyTo === null ? [] : [replyTo, streamSteps];
  return createHash('sha256')
    .update(JSON.stringify([userId, sessionId, prompt, sorted, maxSteps, tokenBudget, ...reply]))
    .digest('base64url');
}
