import { Inject, Injectable } from '@nestjs/common';
import type { Principal, Subject } from '#libs/auth';
import {
  BatonError,
  DEAD_LETTERS_TOPIC,
  resultsTopic,
  RetryableError,
  TASK_ID,
  TASK_LIMITS,
  type AgentResultEvent,
  type AgentTaskEvent,
} from '#libs/contracts';
import { Database } from '#libs/database';
import {
  deadLetterOf,
  inboxId,
  InboxRepository,
  MessageRelay,
  OutboxRepository,
  type OutboxMessage,
  type PoisonMessage,
  type RawMessage,
} from '#libs/messaging';
import { AGENT, type Agent } from '../agent.js';
import { storable } from '../loop/storable.js';
import { TaskRepository } from '../store/task.repository.js';
import { Senders } from './senders.js';

/** The service itself, for messages of which nobody knows whose they are. */
const NOBODY: Subject = { tenant: 'system', userId: null, scopes: [], token: null };

/** What becomes of messages that cannot become tasks. */
@Injectable()
export class UndeliverableTasks {
  private readonly agentId: string;

  constructor(
    @Inject(AGENT) { definition }: Agent,
    @Inject(Senders) private readonly senders: Senders,
    @Inject(Database) private readonly database: Database,
    @Inject(InboxRepository) private readonly inbox: InboxRepository,
    @Inject(OutboxRepository) private readonly outbox: OutboxRepository,
    @Inject(MessageRelay) private readonly relay: MessageRelay,
    @Inject(TaskRepository) private readonly tasks: TaskRepository,
  ) {
    this.agentId = definition.id;
  }

  /**
   * Dead letter with the cause, inbox row, and a failed result for a caller that is known and waits for one, unless the task is there
   * already and will have or has another: one transaction, once per message.
   * @throws RetryableError while the database or the identity service is away
   */
  async bury(poison: PoisonMessage): Promise<void> {
    const { raw } = poison;
    const sender = await this.senderOf(poison);
    const letter: OutboxMessage<'DeadLetterEvent'> = {
      destination: DEAD_LETTERS_TOPIC,
      key: keyOf(raw, raw.key),
      kind: 'DeadLetterEvent',
      body: deadLetterOf(poison, this.agentId),
      subject: sender ?? NOBODY,
      traceparent: raw.traceparent,
    };
    // What cannot be stored could not be given up, and its consumer would die of it for ever.
    const messages: OutboxMessage[] = storable([letter, ...(await this.replies(poison, sender))]);
    await this.database.transaction(async (query) => {
      if (await this.inbox.record(query, inboxId(raw, sender))) await this.outbox.add(query, messages);
    });
    this.relay.wake();
  }

  private async senderOf({ raw }: PoisonMessage): Promise<Principal | null> {
    try {
      return await this.senders.identify(raw);
    } catch (error) {
      if (error instanceof RetryableError) throw error;
      return null;
    }
  }

  private async replies(poison: PoisonMessage, sender: Principal | null): Promise<OutboxMessage[]> {
    const { raw, message } = poison;
    if (!sender || message?.kind !== 'AgentTaskEvent') return [];
    const { reply_to: replyTo, task_id: taskId } = message.body;
    if (replyTo === null || !this.senders.mayReplyTo(sender, replyTo)) return [];
    // The caller would take it for the end of that task.
    if (TASK_ID.test(taskId) && (await this.tasks.isKnown(sender.tenant, taskId, null))) return [];
    const reply: OutboxMessage<'AgentResultEvent'> = {
      destination: resultsTopic(replyTo),
      key: keyOf(raw, message.body.session_id),
      kind: 'AgentResultEvent',
      body: this.refusalOf(message.body, poison),
      subject: sender,
      traceparent: raw.traceparent,
    };
    return [reply];
  }

  private refusalOf(event: AgentTaskEvent, { code, cause }: PoisonMessage): AgentResultEvent {
    return {
      task_id: event.task_id,
      source_agent: this.agentId,
      session_id: event.session_id,
      status: 'failed',
      output: null,
      error: code,
      error_detail: detailOf(cause),
      steps_used: 0,
      tokens_used: 0,
      tool_calls: 0,
      duration_ms: 0,
      created_at: Date.now(),
    };
  }
}

/** The session that its sender named, if it can be one: an endless text would not fit into the outbox' index. */
const keyOf = ({ id }: RawMessage, session: string): string =>
  session.length > 0 && session.length <= TASK_LIMITS.sessionIdChars ? session : id;

function detailOf(cause: unknown): string {
  if (!(cause instanceof BatonError)) return 'Something went wrong; the log has the details';
  const fields = cause.errors?.map(({ message }) => message).join('; ');
  return fields ? `${cause.message}: ${fields}` : cause.message;
}
