import { Inject, Injectable } from '@nestjs/common';
import { Tokens } from '#libs/auth';
import {
  DEAD_LETTERS_TOPIC,
  messageOf,
  recipientOf,
  RetryableError,
  TerminalError,
  type BatonError,
  type DeadLetterEvent,
} from '#libs/contracts';
import { HEADROOM_BYTES, MessageCodec } from '../avro/codec.js';
import { barestLetter, unsendable } from './dead-letter.js';
import { envelopeBytes, envelopeHeaders } from './envelope.js';
import type { OutboxMessage, OutgoingMessage } from './handoff.js';
import { HANDOFF_OPTIONS, type HandoffOptions } from './options.js';
import type { HeldMessage } from './outbox.repository.js';

/** Characters; an endless key may be what was wrong. */
const MAX_LETTER_KEY = 1024;
/** Codes of what no token can be the reason of. */
const ABOUT_CONTENT = new Set(['avro-invalid', 'message-too-large']);

/** What a row of the outbox is on the wire. */
@Injectable()
export class Outgoing {
  constructor(
    @Inject(MessageCodec) private readonly codec: MessageCodec,
    @Inject(Tokens) private readonly tokens: Tokens,
    @Inject(HANDOFF_OPTIONS) private readonly options: HandoffOptions,
  ) {}

  /** Encoded, with headers and the token for its recipient; a `RetryableError` when that may pass, a `TerminalError` when it cannot be sent. */
  async prepare(message: HeldMessage): Promise<OutgoingMessage | BatonError> {
    const { id, destination: topic, key, kind, body, traceparent, createdAt, subject } = message;
    try {
      const { value, headers } = this.codec.encode(kind, body);
      const recipient = recipientOf(topic, body);
      const about = (body as { task_id?: string | null }).task_id ?? null;
      Object.assign(
        headers,
        envelopeHeaders({ id, source: this.options.service, kind, traceparent, createdAt, subject: about }),
      );
      // Without a token to exchange, the service speaks for itself alone.
      const onBehalf = subject.token === null ? undefined : subject;
      if (recipient !== null) headers['authorization'] = await this.tokens.authorization(recipient, onBehalf);
      if (envelopeBytes(key, headers) > HEADROOM_BYTES)
        throw new TerminalError('message-too-large', `Key and headers may have ${HEADROOM_BYTES} bytes`);
      return { id, topic, key, headers, value, createdAt };
    } catch (error) {
      if (error instanceof RetryableError || error instanceof TerminalError) return error;
      return new TerminalError('unsendable', messageOf(error), { cause: error });
    }
  }

  /**
   * The dead letter in the place of a message that cannot be sent; it loses the token on behalf of its user. Null for a dead letter for which this
   * service gets no token: that is for its operator to mend, and until then nothing of it can be sent.
   */
  replacement(
    message: HeldMessage,
    cause: TerminalError,
  ): Omit<OutboxMessage, 'subject' | 'traceparent'> | null {
    const body = this.letterOf(message, cause);
    if (!body) return null;
    const key = message.key.length <= MAX_LETTER_KEY ? message.key : message.id;
    return { destination: DEAD_LETTERS_TOPIC, key, kind: 'DeadLetterEvent', body };
  }

  private letterOf(message: HeldMessage, cause: TerminalError): DeadLetterEvent | null {
    if (message.kind !== 'DeadLetterEvent') return unsendable(message, cause, this.options.service);
    if (ABOUT_CONTENT.has(cause.code)) return barestLetter(message.body, this.options.service);
    return message.subject.token === null ? null : (message.body as DeadLetterEvent);
  }
}
