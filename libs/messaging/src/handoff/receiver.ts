import { BatonError, messageOf, RetryableError } from '#libs/contracts';
import { failpoint } from '#libs/chassis';
import type { Logger } from '#libs/telemetry';
import type { MessageCodec } from '../avro/codec.js';
import type { IncomingMessage, PoisonHandler, RawMessage } from './handoff.js';
import type { HandoffMetrics } from './metrics.js';

/** Hands a message to the handlers of its topic. */
export type Dispatch = (message: IncomingMessage) => Promise<void>;

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;

/**
 * Milliseconds before the next try of a message that was tried `attempts` times (from 1). Not what a client is told to wait (5 s when a backlog is
 * full): messages are few at a time, and a place that is free should not stay so.
 */
export function pauseBefore(attempts: number): number {
  return Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempts - 1, 10), LONGEST_PAUSE_MS);
}

/** What every transport does with one message: read it, have it handled, and see to it that a poisonous one is kept as a dead letter. */
export class MessageReceiver {
  constructor(
    private readonly codec: MessageCodec,
    private readonly metrics: HandoffMetrics,
    private readonly logger: Logger,
  ) {}

  /**
   * Null when the message is done, a `RetryableError` when it has to be tried again.
   * @throws what the poison handler threw: a message would be lost, so the process has to end
   */
  async receive(
    raw: RawMessage,
    dispatch: Dispatch,
    onPoison: PoisonHandler,
  ): Promise<RetryableError | null> {
    let message: IncomingMessage | null = null;
    try {
      const decoded = await this.codec.decode(raw.topic, raw.value, raw.headers);
      const { value: _, ...rest } = raw;
      message = { ...rest, ...decoded } as IncomingMessage;
      await failpoint('handoff.before-handle');
      await dispatch(message);
      await failpoint('handoff.after-handle');
      this.metrics.consumed(message.kind, 'handled');
      return null;
    } catch (error) {
      if (error instanceof RetryableError) return this.later(raw, message, error);
      return this.poison(raw, message, error, onPoison);
    }
  }

  private later(raw: RawMessage, message: IncomingMessage | null, error: RetryableError): RetryableError {
    this.metrics.consumed(message?.kind ?? 'unknown', 'retried');
    this.logger.debug({ message_id: raw.id, topic: raw.topic, code: error.code }, 'message waits');
    return error;
  }

  private async poison(
    raw: RawMessage,
    message: IncomingMessage | null,
    cause: unknown,
    onPoison: PoisonHandler,
  ): Promise<RetryableError | null> {
    const code = cause instanceof BatonError ? cause.code : 'handler-failed';
    const fields = { message_id: raw.id, topic: raw.topic, code, err: messageOf(cause) };
    if (code === 'handler-failed')
      this.logger.error({ ...fields, stack: (cause as Error).stack }, 'message poison');
    else this.logger.warn(fields, 'message poison');
    try {
      await onPoison({ raw, message, code, cause });
    } catch (error) {
      if (error instanceof RetryableError) return this.later(raw, message, error);
      throw error;
    }
    this.metrics.consumed(message?.kind ?? 'unknown', 'poison');
    return null;
  }
}
