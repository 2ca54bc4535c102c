import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { LOGGER } from '#libs/chassis';
import { messageOf, type ToolHealth } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { ToolCaller } from '../endpoints/tool-caller.js';
import { Catalogue } from './catalogue.js';

/** Injection token: milliseconds between two looks at one tool service. */
export const HEALTH_INTERVAL_MS = Symbol('HealthIntervalMs');

/** A `health_url` that is new is asked within this time. */
const LOOK_MS = 1000;
const AT_ONCE = 8;
const NOT_ASKED: ToolHealth = { state: 'unknown', cause: null, checked_at: null };

/**
 * Asks every distinct `health_url` of the newest versions in the background, each at most every interval and with 2 s. For people
 * and their tools alone: a call is tried whatever the state says, since only the call itself tells.
 */
@Injectable()
export class ToolHealthWatch implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly known = new Map<string, { health: ToolHealth; askedAt: number }>();
  private timer?: NodeJS.Timeout;
  private looking = false;

  constructor(
    @Inject(Catalogue) private readonly catalogue: Catalogue,
    @Inject(ToolCaller) private readonly caller: ToolCaller,
    @Inject(HEALTH_INTERVAL_MS) private readonly intervalMs: number,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => void this.look(), Math.min(LOOK_MS, this.intervalMs)).unref();
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer);
  }

  of(healthUrl: string): ToolHealth {
    return this.known.get(healthUrl)?.health ?? NOT_ASKED;
  }

  private async look(): Promise<void> {
    if (this.looking) return;
    this.looking = true;
    try {
      const tools = await this.catalogue.all();
      const services = new Map(tools.map(({ definition, owner }) => [definition.health_url, owner]));
      for (const url of this.known.keys()) if (!services.has(url)) this.known.delete(url);
      const now = performance.now();
      const due = [...services].filter(
        ([url]) => now - (this.known.get(url)?.askedAt ?? -Infinity) >= this.intervalMs,
      );
      const ask = async () => {
        for (let one = due.pop(); one; one = due.pop()) await this.ask(...one);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, ask));
    } catch (error) {
      // The catalogue itself tells that Postgres is away.
      this.logger.debug({ err: messageOf(error) }, 'tool services not asked');
    } finally {
      this.looking = false;
    }
  }

  private async ask(url: string, service: string): Promise<void> {
    const askedAt = performance.now();
    const cause = causeOf(await this.caller.probe(url));
    const before = this.of(url).state;
    const health: ToolHealth = { state: cause ? 'down' : 'up', cause, checked_at: new Date().toISOString() };
    this.known.set(url, { health, askedAt });
    if (health.state === 'down' && before !== 'down')
      this.logger.warn({ service, err: cause }, 'tool service is down');
    if (health.state === 'up' && before === 'down') this.logger.info({ service }, 'tool service is up again');
  }
}

/** Why an answer to `health_url` is none; null when it is one. */
function causeOf(status: number | null): string | null {
  if (status === null) return 'its health_url does not answer';
  return status >= 200 && status < 300 ? null : `its health_url answers ${status}`;
}
