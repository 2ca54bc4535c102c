import { Injectable, type Provider } from '@nestjs/common';
import type { Subject } from '#libs/auth';
import { tasksTopic, type AgentTaskCancel, type AgentTaskEvent } from '#libs/contracts';
import { Database, type Query } from '#libs/database';
import { MessageRelay, OutboxRepository, type OutboxMessage } from '#libs/messaging';
import { namedUuid } from './named-uuid.js';

/** A task for another agent; what is left out is that agent's default. */
export interface HandOff {
  /** UUID of the task, best made by `childTaskId`: handed off again, it stays one task. */
  taskId: string;
  /** Who shall do it, e.g. `agent-search`. */
  agent: string;
  prompt: string;
  /** Tasks of one session run one after the other at their agent; default: a session of its own. */
  sessionId?: string;
  context?: Record<string, string>;
  maxSteps?: number;
  tokenBudget?: number;
  /** Milliseconds since 1970. */
  deadline?: number;
  /** Whether the result comes back to `agent.results.<this service>`, and the steps before it. Default: the result alone. */
  reply?: 'none' | 'result' | 'steps';
}

/** For whom a task is handed off, and as part of what: a running task has all of it. */
export interface OnBehalfOf extends Subject {
  traceparent: string | null;
}

/**
 * Hands tasks to other agents through the outbox of this service. `messages` of a hand-off may be written with something else in one
 * transaction (`OutboxRepository.add`); then wake the relay after the commit.
 */
@Injectable()
export class HandOffs {
  /** @param service the name of this service: results come to its topic */
  constructor(
    private readonly service: string,
    private readonly database: Database,
    private readonly outbox: OutboxRepository,
    private readonly relay: MessageRelay,
  ) {}

  /** The message that asks for a task. */
  task(handOff: HandOff, { traceparent, ...subject }: OnBehalfOf): OutboxMessage<'AgentTaskEvent'> {
    const { taskId, agent, prompt, reply = 'result' } = handOff;
    const session_id = handOff.sessionId ?? taskId;
    const body: AgentTaskEvent = {
      task_id: taskId,
      source_agent: this.service,
      target_agent: agent,
      session_id,
      prompt,
      context: handOff.context ?? {},
      created_at: Date.now(),
      max_steps: handOff.maxSteps ?? null,
      token_budget: handOff.tokenBudget ?? null,
      deadline: handOff.deadline ?? null,
      reply_to: reply === 'none' ? null : this.service,
      stream_steps: reply === 'steps',
      retry_count: 0,
      last_error: null,
    };
    return {
      destination: tasksTopic(agent),
      key: session_id,
      kind: 'AgentTaskEvent',
      body,
      subject,
      traceparent,
    };
  }

  /** The message that cancels one; it follows its task because it has the same key. */
  cancel(
    { taskId, agent, sessionId = taskId }: Pick<HandOff, 'taskId' | 'agent' | 'sessionId'>,
    { traceparent, ...subject }: OnBehalfOf,
  ): OutboxMessage<'AgentTaskCancel'> {
    const body: AgentTaskCancel = {
      task_id: taskId,
      source_agent: this.service,
      target_agent: agent,
      session_id: sessionId,
      created_at: Date.now(),
    };
    return {
      destination: tasksTopic(agent),
      key: sessionId,
      kind: 'AgentTaskCancel',
      body,
      subject,
      traceparent,
    };
  }

  /** When it resolves the messages are committed and will be delivered. `alongside` writes in the same transaction. */
  async send(messages: readonly OutboxMessage[], alongside?: (query: Query) => Promise<void>): Promise<void> {
    await this.database.transaction(async (query) => {
      await alongside?.(query);
      await this.outbox.add(query, messages);
    });
    this.relay.wake();
  }
}

export const handOffsOf = (service: string): Provider => ({
  provide: HandOffs,
  inject: [Database, OutboxRepository, MessageRelay],
  useFactory: (database: Database, outbox: OutboxRepository, relay: MessageRelay) =>
    new HandOffs(service, database, outbox, relay),
});

/** P9: the id of the task that does step `step` of another one, at its `attempt` (from 1): the same however often it is handed off. */
export const childTaskId = (parentId: string, step: string, attempt = 1): string =>
  namedUuid(parentId, JSON.stringify([step, attempt]));
