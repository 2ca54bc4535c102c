import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { LOGGER, pause } from '#libs/chassis';
import type { Logger } from '#libs/telemetry';
import { ToolClient } from '#libs/tools';
import { AGENT, type Agent } from './agent.js';

/** Tool services register while the agent starts. */
const PAUSES_MS = [0, 6000, 6000];

/** Says once, after the start, which of its tools the registry does not offer the agent: its tasks just go without. */
@Injectable()
export class DeclaredTools implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly stopped = new AbortController();

  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(ToolClient) private readonly tools: ToolClient,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.look().catch(() => undefined);
  }

  onApplicationShutdown(): void {
    this.stopped.abort();
  }

  /** Looks after each pause until all are there. @throws the reason of a stop; the client's error, which readiness tells */
  async look(pauses = PAUSES_MS): Promise<void> {
    const { id, tools } = this.agent.definition;
    let missing = tools;
    for (const ms of pauses) {
      await pause(ms, this.stopped.signal);
      const offered = await this.tools.list(this.stopped.signal);
      missing = tools.filter((tool) => !offered.some(({ name }) => name === tool));
      if (missing.length === 0) return;
    }
    this.logger.warn(
      { tools: missing, fix: `start their service, and grant them to ${id}: TOOL_ACL_EXTRA of the registry` },
      'agent.tools.not-offered',
    );
  }
}
