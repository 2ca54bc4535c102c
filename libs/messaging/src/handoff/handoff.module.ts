import { Inject, Injectable, Module, type DynamicModule, type OnApplicationShutdown } from '@nestjs/common';
import type { Kafka } from 'kafkajs';
import { LOGGER, Readiness } from '#libs/chassis';
import type { Logger } from '#libs/telemetry';
import { MessageCodec } from '../avro/codec.js';
import { RegistrySchemas } from '../avro/registry.js';
import { BullHandoff } from '../bullmq/bull-handoff.js';
import { Channels } from '../channels.js';
import { kafkaClient } from '../kafka/client.js';
import { KafkaHandoff } from '../kafka/kafka-handoff.js';
import { REDIS_URL } from '../redis.js';
import { HandoffConsumers } from './consumers.js';
import { HANDOFF, type Handoff } from './handoff.js';
import { HandoffHousekeeping } from './housekeeping.js';
import { InboxRepository } from './inbox.repository.js';
import { HANDOFF_METRIC_PROVIDERS, HandoffMetrics } from './metrics.js';
import { HANDOFF_OPTIONS, KAFKA, type HandoffOptions } from './options.js';
import { OutboxRepository } from './outbox.repository.js';
import { Outgoing } from './outgoing.js';
import { MessageReceiver } from './receiver.js';
import { MessageRelay } from './relay.js';
import { SchemaRegistration } from './schema-registration.js';

/** Closes the transport after everything that publishes has stopped. */
@Injectable()
class HandoffConnection implements OnApplicationShutdown {
  constructor(
    @Inject(HANDOFF) private readonly handoff: Handoff,
    @Inject(HANDOFF_OPTIONS) { config, service }: HandoffOptions,
    @Inject(HandoffMetrics) metrics: HandoffMetrics,
    @Inject(Readiness) readiness: Readiness,
  ) {
    metrics.service = service;
    if (config.KAFKA_BROKERS)
      readiness.add({
        name: 'kafka',
        check: () => handoff.check(),
        fix: 'start Kafka, or correct KAFKA_BROKERS',
        // Messages wait in the outbox, and all other doors are open.
        optional: true,
      });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.handoff.close();
  }
}

/**
 * The hand-off of a service: the outbox' relay over Kafka or, without brokers, BullMQ, and the transport of the consumers. Needs the database, messaging
 * and auth modules. Provides `OutboxRepository`, `InboxRepository` and `MessageRelay` (`wake()` after a commit that
 * wrote to the outbox). Consumers are opened by `connectHandoff(app, onPoison)`.
 */
@Module({})
export class HandoffModule {
  static forRoot(options: HandoffOptions): DynamicModule {
    const { config, service } = options;
    return {
      module: HandoffModule,
      global: true,
      providers: [
        { provide: HANDOFF_OPTIONS, useValue: options },
        {
          provide: KAFKA,
          inject: [LOGGER],
          useFactory: (logger: Logger) =>
            config.KAFKA_BROKERS ? kafkaClient(config, service, logger) : null,
        },
        {
          provide: RegistrySchemas,
          useValue: config.SCHEMA_REGISTRY_URL ? new RegistrySchemas(config.SCHEMA_REGISTRY_URL) : null,
        },
        {
          provide: MessageCodec,
          inject: [RegistrySchemas],
          useFactory: (registry: RegistrySchemas | null) => new MessageCodec(registry),
        },
        {
          provide: HANDOFF,
          inject: [KAFKA, REDIS_URL, Channels],
          useFactory: (kafka: Kafka | null, url: string, channels: Channels): Handoff =>
            kafka ? new KafkaHandoff(kafka, config) : new BullHandoff(url, service, channels),
        },
        {
          provide: MessageReceiver,
          inject: [MessageCodec, HandoffMetrics, LOGGER],
          useFactory: (codec: MessageCodec, metrics: HandoffMetrics, logger: Logger) =>
            new MessageReceiver(codec, metrics, logger),
        },
        ...HANDOFF_METRIC_PROVIDERS,
        HandoffMetrics,
        SchemaRegistration,
        HandoffConnection,
        OutboxRepository,
        InboxRepository,
        Outgoing,
        MessageRelay,
        HandoffHousekeeping,
        HandoffConsumers,
      ],
      exports: [OutboxRepository, InboxRepository, MessageRelay, HandoffConsumers],
    };
  }
}
