import { messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import type { HandoffConfig } from './config.js';

export interface HandoffOptions {
  /** The service: sender of its messages, its consumer group and the consumer in its inbox. */
  service: string;
  /** Schema whose tables `messages` and `inbox` are used (`handoffTables`). */
  schema: string;
  config: HandoffConfig;
  /** What a bug in the transport does to the process; by default it ends with code 1, so that nothing goes on deaf. */
  onCrash?: (error: unknown) => void;
}

export const HANDOFF_OPTIONS = Symbol('HandoffOptions');

/** What to do with an error after which the service must not go on: say why, and end the process. */
export function crashOf({ onCrash }: HandoffOptions, logger: Logger): (error: unknown) => void {
  return (error) => {
    logger.fatal(
      { err: messageOf(error), stack: (error as Error | null)?.stack },
      'the hand-off cannot go on',
    );
    if (onCrash) onCrash(error);
    else process.exit(1);
  };
}

/** Injection token of the Kafka client; null where no brokers are configured. */
export const KAFKA = Symbol('Kafka');
