import { Controller, Inject, type Type } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import { onlyUserOf, type Principal } from '#libs/auth';
import { LOGGER } from '#libs/chassis';
import {
  BatonError,
  parseTaskId,
  tasksTopic,
  TerminalError,
  type AgentTaskCancel,
  type AgentTaskEvent,
} from '#libs/contracts';
import { inboxId, type IncomingMessage } from '#libs/messaging';
import type { Logger } from '#libs/telemetry';
import type { Agent } from '../agent.js';
import { Canceller } from '../canceller.js';
import { taskOfEvent } from '../handoff/handed-off-task.js';
import { Senders } from '../handoff/senders.js';
import { Intake } from '../intake.js';

/**
 * The door for tasks that other services hand off: topic `agent.tasks.<agent>`, over Kafka or BullMQ alike. It only accepts; the work is
 * the workers'. What it throws for good becomes a dead letter (`UndeliverableTasks`), what may pass makes the message wait.
 */
export function createHandoffDoor({ definition }: Agent): Type {
  @Controller()
  class HandoffDoor {
    constructor(
      @Inject(Senders) private readonly senders: Senders,
      @Inject(Intake) private readonly intake: Intake,
      @Inject(Canceller) private readonly canceller: Canceller,
      @Inject(LOGGER) private readonly logger: Logger,
    ) {}

    @EventPattern<string>(tasksTopic(definition.id))
    async handle(@Payload() message: IncomingMessage): Promise<void> {
      const caller = await this.senders.identify(message);
      this.senders.authorize(caller);
      switch (message.kind) {
        case 'AgentTaskEvent':
          return this.accept(message, message.body, caller);
        case 'AgentTaskCancel':
          return this.cancel(message.body, caller);
        default:
          throw new TerminalError('unexpected-message', `${message.kind} does not belong here`);
      }
    }

    private async accept(message: IncomingMessage, event: AgentTaskEvent, caller: Principal): Promise<void> {
      assertTarget(event);
      const task = await taskOfEvent(event, caller, definition, message.traceparent);
      if (task.replyTo !== null && !this.senders.mayReplyTo(caller, task.replyTo))
        throw new TerminalError(
          'forbidden',
          `Results for ${task.replyTo} cannot be ordered by ${caller.caller}`,
          {
            status: 403,
          },
        );
      const inbox = { consumer: definition.id, id: inboxId(message, caller) };
      if (await this.intake.acceptMessage(task, inbox)) return;
      const { id: message_id, topic } = message;
      this.logger.warn({ message_id, topic, task_id: task.id }, 'message was seen before, but has no task');
    }

    /** Twice the same cancel is one: it needs no inbox. */
    private async cancel(event: AgentTaskCancel, caller: Principal): Promise<void> {
      assertTarget(event);
      const scope = { agentId: definition.id, tenant: caller.tenant, userId: onlyUserOf(caller) };
      try {
        await this.canceller.request(parseTaskId(event.task_id), scope);
      } catch (error) {
        // The task was quicker than its cancel; its result tells the caller so.
        if (!(error instanceof BatonError && error.code === 'task-finished')) throw error;
      }
    }
  }

  function assertTarget({ target_agent: target }: Pick<AgentTaskEvent, 'target_agent'>): void {
    if (target === definition.id) return;
    throw new TerminalError('wrong-target', 'The task is for another agent', {
      status: 400,
      errors: [{ field: 'target_agent', message: `target_agent must be ${definition.id} in this topic` }],
    });
  }

  return HandoffDoor;
}
