import { Inject, Injectable } from '@nestjs/common';
import {
  DEAD_LETTERS_TOPIC,
  EVENTS_TOPIC,
  resultsTopic,
  stepOf,
  type AgentEvent,
  type AgentResult,
  type AgentTaskEvent,
  type EntryBody,
  type FinishEntry,
  type MessageBodies,
  type MessageKind,
  type TaskView,
} from '#libs/contracts';
import type { Subject } from '#libs/auth';
import { fittingLetter, MessageRelay } from '#libs/messaging';
import { AGENT, type Agent } from '../agent.js';
import { apply, type RunState } from '../loop/state.js';
import type { NewTask } from '../store/acceptances.js';
import type { TakenAlong } from '../store/outbox.js';
import type { TaskFacts } from '../store/claimed-task.js';
import { namedUuid } from './named-uuid.js';

/** A journal entry that is about to be written. */
type Entry = { seq: number; body: EntryBody };
type Addressed = Pick<TaskFacts, keyof Subject | 'sessionId' | 'traceparent'>;

/**
 * What others are told of a task, as messages that the write of the news itself takes along: the result and, where they are wanted,
 * the steps at the reply address, the dead letter of a failed task, and events for the world where Kafka carries them.
 */
@Injectable()
export class Announcements {
  private readonly agentId: string;
  private readonly tellsTheWorld: boolean;
  private readonly tellsOfAcceptance: boolean;

  constructor(
    @Inject(AGENT) { definition, config }: Agent,
    @Inject(MessageRelay) private readonly relay: Pick<MessageRelay, 'wake'>,
  ) {
    this.agentId = definition.id;
    this.tellsTheWorld = config.KAFKA_BROKERS !== '';
    this.tellsOfAcceptance = config.ACCEPTED_EVENTS;
  }

  /** The write that took `messages` along is committed. */
  written(messages: readonly TakenAlong[]): void {
    if (messages.length > 0) this.relay.wake();
  }

  /** Only where it is asked for: one more message for each task takes a third of the rate at which an agent can accept them. */
  accepted(task: NewTask): TakenAlong[] {
    if (!this.tellsOfAcceptance) return [];
    return this.event(task, {
      type: 'task.accepted',
      task_id: task.id,
      status: 'pending',
      error: null,
      steps_used: 0,
      tokens_used: 0,
      tool_calls: 0,
      duration_ms: null,
    });
  }

  /** @param before the state that the entry is added to */
  appended(task: TaskFacts, before: RunState, entry: Entry): TakenAlong[] {
    return this.steps(task, before, [entry]);
  }

  /**
   * @param before the state that `entries` are added to; the last of them is `finish`
   * @param retryable the same task may succeed later
   */
  ended(
    task: TaskFacts,
    before: RunState,
    entries: Entry[],
    finish: FinishEntry,
    retryable: boolean,
  ): TakenAlong[] {
    const { status, error, steps_used, tokens_used, tool_calls, duration_ms } = finish.result;
    const news = { task_id: task.id, status, error, steps_used, tokens_used, tool_calls, duration_ms };
    const result = this.result(task, finish.result, finish.error_detail);
    const messages = [...this.steps(task, before, entries), ...result];
    if (status === 'failed') messages.push(this.deadLetter(task, finish, retryable));
    return [...messages, ...this.event(task, { type: `task.${status}` as AgentEvent['type'], ...news })];
  }

  /** The result of a task that has ended, for a hand-off that came again. */
  answeredAgain(task: NewTask, view: TaskView): TakenAlong[] {
    return this.result({ ...task, token: task.subjectToken }, view, view.error_detail);
  }

  private steps(task: TaskFacts, before: RunState, entries: Entry[]): TakenAlong[] {
    if (!task.streamSteps || !task.replyTo) return [];
    const to = resultsTopic(task.replyTo);
    let state = before;
    return entries.map(({ seq, body }) => {
      state = apply(state, body);
      const step = {
        task_id: task.id,
        source_agent: this.agentId,
        session_id: task.sessionId,
        sequence: seq,
        step_number: state.turns.length,
        ...stepOf(body),
        // The statement fills these in with the entry as it is written.
        entry_json: '',
        created_at: 0,
      };
      return { ...this.message(task, to, 'AgentStepEvent', step), seq };
    });
  }

  /** A task has one result: told again, the message has the same id, and whoever has it already knows. */
  private result(
    task: Addressed & Pick<TaskFacts, 'id' | 'replyTo'>,
    { status, output, error, steps_used, tokens_used, tool_calls, duration_ms }: AgentResult,
    error_detail: string | null,
  ): TakenAlong[] {
    if (!task.replyTo) return [];
    const numbers = { steps_used, tokens_used, tool_calls, duration_ms };
    const body = {
      ...{ task_id: task.id, source_agent: this.agentId, session_id: task.sessionId },
      ...{ status, output, error, error_detail, ...numbers, created_at: Date.now() },
    };
    const message = this.message(task, resultsTopic(task.replyTo), 'AgentResultEvent', body);
    return [{ ...message, id: namedUuid(task.id, 'result') }];
  }

  /** P7: written in the transaction that fails the task. */
  private deadLetter(task: TaskFacts, { result, error_detail }: FinishEntry, retryable: boolean): TakenAlong {
    const lastError = `${result.error}: ${error_detail}`;
    const letter = fittingLetter({
      reason: 'task-failed',
      last_error: lastError,
      errors: [],
      retry_count: task.retryCount,
      auto_retry_eligible: retryable,
      reported_by: this.agentId,
      target_agent: this.agentId,
      task_id: task.id,
      session_id: task.sessionId,
      task_json: JSON.stringify(this.askedAgain(task, lastError, result.duration_ms)),
      topic: null,
      partition: null,
      offset: null,
      message_id: null,
      headers: {},
      payload: null,
      payload_bytes: null,
      created_at: Date.now(),
    });
    return this.message(task, DEAD_LETTERS_TOPIC, 'DeadLetterEvent', letter);
  }

  /** The request as it was; its deadline has passed or will have, so the next try gets the longest time. */
  private askedAgain(task: TaskFacts, lastError: string, durationMs: number): AgentTaskEvent {
    return {
      task_id: task.id,
      source_agent: task.replyTo ?? this.agentId,
      target_agent: this.agentId,
      session_id: task.sessionId,
      prompt: task.prompt,
      context: task.metadata,
      created_at: Date.now() - durationMs,
      max_steps: task.maxSteps,
      token_budget: task.tokenBudget,
      deadline: null,
      reply_to: task.replyTo,
      stream_steps: task.streamSteps,
      retry_count: task.retryCount,
      last_error: lastError,
    };
  }

  private event(
    { tenant, userId, scopes, sessionId, traceparent }: Omit<Addressed, 'token'>,
    news: Omit<AgentEvent, 'agent_id' | 'session_id' | 'tenant' | 'created_at'>,
  ): TakenAlong[] {
    if (!this.tellsTheWorld) return [];
    const about = { agent_id: this.agentId, session_id: sessionId, tenant, created_at: Date.now() };
    // It is for everybody: there is nobody to show a token to.
    const of = { tenant, userId, scopes, token: null, sessionId, traceparent };
    return [this.message(of, EVENTS_TOPIC, 'AgentEvent', { ...news, ...about })];
  }

  private message<K extends MessageKind>(
    task: Addressed,
    destination: string,
    kind: K,
    body: MessageBodies[K],
  ): TakenAlong {
    const { tenant, userId, scopes, token, sessionId, traceparent } = task;
    const subject = { tenant, userId, scopes, token };
    return { source: this.agentId, destination, key: sessionId, kind, body, subject, traceparent };
  }
}
