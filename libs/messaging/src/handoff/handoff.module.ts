import { Module, type DynamicModule } from '@nestjs/common';
import type { HandoffConfig } from './config.js';

export interface HandoffOptions {
  /** The service: `ce_source` of its messages and its consumer group. */
  service: string;
  /** Schema whose tables `messages` and `inbox` are used (`handoffTables`). */
  schema: string;
  config: HandoffConfig;
  /** Topics that the service reads; created at start. Each needs an `@EventPattern(topic)` handler. */
  consumes: readonly string[];
}

/**
 * The hand-off of a service: the outbox' relay over Kafka or, without brokers, BullMQ, and the transport of the consumers. Provides
 * `MessageRelay` (`wake()` after a commit that wrote to the outbox). Connect the consumers with `connectHandoff(app, onPoison)`.
 */
@Module({})
export class HandoffModule {
  static forRoot(options: HandoffOptions): DynamicModule {
    return {
      module: HandoffModule,
      global: true,
      providers: [{ provide: HANDOFF_OPTIONS, useValue: options }],
    };
  }
}

export const HANDOFF_OPTIONS = Symbol('HandoffOptions');
