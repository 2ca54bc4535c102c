import { Inject, Injectable } from '@nestjs/common';
import { hasScope, isAllowed, isService, TokenVerifier, type Principal } from '#libs/auth';
import { TerminalError } from '#libs/contracts';
import type { RawMessage } from '#libs/messaging';
import { AGENT, type Agent } from '../agent.js';

/** May name another caller as reply address: it sends failed tasks again for those who asked for them. */
const SENDS_FOR_OTHERS = 'dead-letters';

const forbidden = (message: string) => new TerminalError('forbidden', message, { status: 403 });

/** Who sends a message, and what the sender may: by the token in its header alone. */
@Injectable()
export class Senders {
  private readonly service: string;
  private readonly allowedCallers: string[];

  constructor(
    @Inject(AGENT) { definition, config }: Agent,
    @Inject(TokenVerifier) private readonly verifier: TokenVerifier,
  ) {
    this.service = definition.id;
    this.allowedCallers = config.ALLOWED_CALLERS.split(',').map((caller) => caller.trim());
  }

  /**
   * Messages wait: the token has to be valid as of the moment when the broker took the message.
   * @throws TerminalError 401 `unauthenticated`, 403 `forbidden` when it is not a service's; RetryableError 503 `identity-unavailable`
   */
  async identify({ headers, appendedAt }: Pick<RawMessage, 'headers' | 'appendedAt'>): Promise<Principal> {
    const principal = await this.verifier.verify(headers['authorization'], this.service, appendedAt);
    if (!isService(principal))
      throw forbidden('Messages come from services: the own token of a person or a tenant is not enough');
    return principal;
  }

  /** @throws TerminalError 403 `forbidden` */
  authorize(principal: Principal): void {
    if (!isAllowed(principal, this.allowedCallers))
      throw forbidden(`Caller ${principal.caller} may not use ${this.service}`);
    if (!hasScope(principal, 'tasks:write')) throw forbidden('The token lacks the scope tasks:write');
  }

  /** Whether results may be sent to `replyTo`: nobody can have them sent to somebody else. */
  mayReplyTo({ caller }: Principal, replyTo: string): boolean {
    return replyTo === caller || caller === SENDS_FOR_OTHERS;
  }
}
