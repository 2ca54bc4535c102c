import { Controller, Inject, type InjectionToken, type Type } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import { isService, TokenVerifier } from '#libs/auth';
import { resultsTopic, TerminalError, type AgentResultEvent, type AgentStepEvent } from '#libs/contracts';
import { Database, type Query } from '#libs/database';
import { inboxId, InboxRepository, type IncomingMessage } from '#libs/messaging';

/** What a service does with the results and steps of tasks that it handed off. */
export interface ResultHandler {
  /**
   * Called once per message, in its transaction: what `query` writes is committed with the inbox row. `tenant` is that of the token,
   * so results of another tenant's tasks can be told from one's own. Throw a `RetryableError` to get the message again.
   */
  onResult(result: AgentResultEvent, tenant: string, query: Query): Promise<void>;
  onStep(step: AgentStepEvent, tenant: string, query: Query): Promise<void>;
}

/**
 * The door for what comes back to `service`: topic `agent.results.<service>`.
 * @param handler injection token of the `ResultHandler`
 */
export function createResultsDoor(service: string, handler: InjectionToken): Type {
  @Controller()
  class ResultsDoor {
    constructor(
      @Inject(TokenVerifier) private readonly verifier: TokenVerifier,
      @Inject(Database) private readonly database: Database,
      @Inject(InboxRepository) private readonly inbox: InboxRepository,
      @Inject(handler) private readonly results: ResultHandler,
    ) {}

    @EventPattern<string>(resultsTopic(service))
    async handle(@Payload() message: IncomingMessage): Promise<void> {
      const { headers, appendedAt } = message;
      if (message.kind !== 'AgentResultEvent' && message.kind !== 'AgentStepEvent')
        throw new TerminalError('unexpected-message', `${message.kind} does not belong here`);
      const sender = await this.verifier.verify(headers['authorization'], service, appendedAt);
      const { caller, tenant } = sender;
      if (!isService(sender) || caller !== message.body.source_agent)
        throw new TerminalError('forbidden', `${caller} cannot speak for ${message.body.source_agent}`, {
          status: 403,
        });
      await this.database.transaction(async (query) => {
        if (!(await this.inbox.record(query, inboxId(message, sender)))) return;
        if (message.kind === 'AgentResultEvent') await this.results.onResult(message.body, tenant, query);
        else await this.results.onStep(message.body, tenant, query);
      });
    }
  }
  return ResultsDoor;
}
