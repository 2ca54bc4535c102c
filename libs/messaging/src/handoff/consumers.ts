import {
  Catch,
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type ExceptionFilter,
  type INestApplication,
} from '@nestjs/common';
import type { NestMicroservice } from '@nestjs/microservices';
import type { Kafka } from 'kafkajs';
import { throwError, type Observable } from 'rxjs';
import { LOGGER } from '#libs/chassis';
import type { Logger } from '#libs/telemetry';
import { BullHandoffServer } from '../bullmq/bull-server.js';
import { Channels } from '../channels.js';
import { KafkaHandoffServer } from '../kafka/kafka-server.js';
import { REDIS_URL } from '../redis.js';
import { HANDOFF, type Handoff, type PoisonHandler } from './handoff.js';
import { crashOf, HANDOFF_OPTIONS, KAFKA, type HandoffOptions } from './options.js';
import { MessageReceiver } from './receiver.js';

/** Group id of a service, for the metric of its lag. */
export const consumerGroup = (service: string): string => service;

/** Makes the transport of a service's consumers and drains it before anything that handlers need is closed. */
@Injectable()
export class HandoffConsumers implements BeforeApplicationShutdown {
  private server?: KafkaHandoffServer | BullHandoffServer;

  constructor(
    @Inject(HANDOFF_OPTIONS) private readonly options: HandoffOptions,
    @Inject(KAFKA) private readonly kafka: Kafka | null,
    @Inject(HANDOFF) private readonly handoff: Handoff,
    @Inject(MessageReceiver) private readonly receiver: MessageReceiver,
    @Inject(REDIS_URL) private readonly redisUrl: string,
    @Inject(Channels) private readonly channels: Channels,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  create(onPoison: PoisonHandler): KafkaHandoffServer | BullHandoffServer {
    const { kafka, handoff, receiver, channels, logger, redisUrl: url } = this;
    const onCrash = crashOf(this.options, logger);
    const group = consumerGroup(this.options.service);
    return (this.server = kafka
      ? new KafkaHandoffServer({ kafka, group, handoff, receiver, onPoison, onCrash, logger })
      : new BullHandoffServer({ url, receiver, channels, onPoison, onCrash, logger }));
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.server?.drain();
  }
}

/** Nest would turn an error into words for a remote caller; here it decides what becomes of the message. */
@Catch()
class ErrorsAsTheyAre implements ExceptionFilter {
  catch(error: unknown): Observable<never> {
    return throwError(() => error);
  }
}

/**
 * Opens the door for messages: every `@EventPattern(topic)` method of the app's controllers consumes its topic from now on. To be called once,
 * after `app.init()` or `app.listen()`. The app's pipes and guards do not apply, as messages carry their token and are validated by their handler.
 */
export async function connectHandoff(app: INestApplication, onPoison: PoisonHandler): Promise<void> {
  const strategy = app.get(HandoffConsumers).create(onPoison);
  const options = { inheritAppConfig: false, deferInitialization: true };
  const door = app.connectMicroservice({ strategy }, options) as NestMicroservice;
  // The app has called everybody's hooks already.
  door.setIsInitHookCalled(true);
  door.useGlobalFilters(new ErrorsAsTheyAre());
  await door.listen();
}
