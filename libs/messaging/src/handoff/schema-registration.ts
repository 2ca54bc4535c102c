import { Inject, Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { LOGGER, Readiness } from '#libs/chassis';
import { messageOf, TerminalError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { RegistrySchemas } from '../avro/registry.js';
import { crashOf, HANDOFF_OPTIONS, type HandoffOptions } from './options.js';

const AGAIN_MS = 2000;

/**
 * Registers the schemas before the service starts: with an incompatible one it must not write a single message. A registry that is away does
 * not keep the service from starting; it is not ready then.
 */
@Injectable()
export class SchemaRegistration implements OnModuleInit, OnApplicationShutdown {
  private timer?: NodeJS.Timeout;
  private stopped = false;
  private cause: string | null = 'not registered yet';

  constructor(
    @Inject(RegistrySchemas) private readonly registry: RegistrySchemas | null,
    @Inject(HANDOFF_OPTIONS) private readonly options: HandoffOptions,
    @Inject(Readiness) readiness: Readiness,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    if (registry)
      readiness.add({
        name: 'schema-registry',
        // Once registered, the schemas are known, whatever becomes of the registry.
        check: () => (this.cause === null ? Promise.resolve() : Promise.reject(new Error(this.cause))),
        fix: 'start the schema registry, or correct SCHEMA_REGISTRY_URL',
        optional: true,
      });
  }

  async onModuleInit(): Promise<void> {
    if (this.registry) await this.register(this.registry);
  }

  onApplicationShutdown(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async register(registry: RegistrySchemas): Promise<void> {
    try {
      await registry.register();
      this.cause = null;
    } catch (error) {
      if (error instanceof TerminalError) throw error;
      this.cause = messageOf(error);
      this.logger.warn({ err: this.cause }, 'schemas not registered yet');
      if (!this.stopped)
        this.timer = setTimeout(() => {
          this.register(registry).catch(crashOf(this.options, this.logger));
        }, AGAIN_MS);
    }
  }
}
