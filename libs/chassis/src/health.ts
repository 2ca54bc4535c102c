import { setMaxListeners } from 'node:events';
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  Res,
  SetMetadata,
  type DynamicModule,
} from '@nestjs/common';
import { ApiOkResponse, ApiTags } from '@nestjs/swagger';
import {
  HealthCheckService,
  HealthIndicatorService,
  TerminusModule,
  type HealthCheckResult,
} from '@nestjs/terminus';
import type { FastifyReply } from 'fastify';
import { messageOf } from '#libs/contracts';
import { PUBLIC_ROUTE } from '#libs/telemetry';

/** One dependency of a service's readiness. `check` rejects with the cause; it has 2 s. */
export interface ReadyCheck {
  name: string;
  check: () => Promise<unknown>;
  /** What a person does about it. */
  fix: string;
  /** True for what the service does without for a while: its absence is shown as `degraded`, and the service stays ready. */
  optional?: boolean;
}

/** A dependency that does not answer. */
export interface Missing {
  name: string;
  cause: string;
  fix: string;
}

const CHECK_MS = 2000;

/** Gathers what `/ready` asks; libs add their own checks when their providers are made. */
@Injectable()
export class Readiness {
  private readonly checks: ReadyCheck[] = [];
  private readonly drained = new AbortController();

  constructor() {
    // Every open stream listens.
    setMaxListeners(0, this.drained.signal);
  }

  add(check: ReadyCheck): void {
    this.checks.push(check);
  }

  /** From now on `/ready` answers 503: the service is on its way out. */
  drain(): void {
    this.drained.abort();
  }

  get isDraining(): boolean {
    return this.drained.signal.aborted;
  }

  /** Aborts when the drain begins: what waits for a client ends, so that the client goes elsewhere. */
  get drainSignal(): AbortSignal {
    return this.drained.signal;
  }

  all(): ReadyCheck[] {
    const drained: ReadyCheck = {
      name: 'accepting',
      check: () => (this.isDraining ? Promise.reject(new Error('draining')) : Promise.resolve()),
      fix: 'wait for the next instance',
    };
    return [drained, ...this.checks];
  }

  /** What is needed and does not answer now; empty when the service is ready. */
  async missing(): Promise<Missing[]> {
    const causes = await Promise.all(this.all().map(causeOf));
    return this.all().flatMap(({ name, fix, optional }, i) =>
      causes[i] === null || optional ? [] : [{ name, cause: causes[i]!, fix }],
    );
  }
}

/** Why a check fails; null when it does not. */
async function causeOf({ check }: ReadyCheck): Promise<string | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_MS / 1000} s`)), CHECK_MS);
  });
  try {
    await Promise.race([check(), late]);
    return null;
  } catch (error) {
    return messageOf(error);
  } finally {
    clearTimeout(timer);
  }
}

@ApiTags('operations')
@SetMetadata(PUBLIC_ROUTE, true)
@Controller()
export class HealthController {
  constructor(
    @Inject(HealthCheckService) private readonly health: HealthCheckService,
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(Readiness) private readonly readiness: Readiness,
  ) {}

  /** Alive: the event loop turned to answer this. Nothing else is asked. */
  @Get('health')
  @ApiOkResponse({ description: 'The process is alive' })
  alive(): { status: string } {
    return { status: 'ok' };
  }

  /** Ready: every dependency that is needed answers; otherwise 503 with what is missing, why, and what to do. */
  @Get('ready')
  @ApiOkResponse({ description: 'Every dependency answers; 503 names those that do not' })
  async ready(@Res({ passthrough: true }) reply: FastifyReply): Promise<HealthCheckResult> {
    const result = await this.health
      .check(this.readiness.all().map((check) => () => this.indicate(check)))
      .catch((error: { getResponse?: () => unknown }) => {
        if (!error.getResponse) throw error;
        reply.status(503);
        return error.getResponse() as HealthCheckResult;
      });
    return result;
  }

  private async indicate(check: ReadyCheck) {
    const indicator = this.indicators.check(check.name);
    const cause = await causeOf(check);
    if (cause === null) return indicator.up();
    const why = { cause, fix: check.fix };
    return check.optional ? indicator.up({ degraded: true, ...why }) : indicator.down(why);
  }
}

@Module({})
export class HealthModule {
  static register(): DynamicModule {
    return {
      module: HealthModule,
      global: true,
      imports: [TerminusModule.forRoot({ logger: false })],
      controllers: [HealthController],
      providers: [Readiness],
      exports: [Readiness],
    };
  }
}
