import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable, type BeforeApplicationShutdown } from '@nestjs/common';
import type { Principal } from '#libs/auth';
import { failpoint, LOGGER } from '#libs/chassis';
import {
  BatonError,
  TerminalError,
  validationError,
  type InvokeResponse,
  type ToolOutcome,
} from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { ToolAcl } from '../acl.js';
import { canonicalJson, sha256 } from '../canonical-json.js';
import { Catalogue } from '../catalogue/catalogue.js';
import type { RegisteredTool } from '../catalogue/registered-tool.js';
import { EffectLedger } from '../effects/effect-ledger.js';
import { ToolCaller, type Answer } from '../endpoints/tool-caller.js';
import { Schemas } from '../schemas/schemas.js';
import { countInvocation } from './invocation-metrics.js';
import { RateLimits } from './rate-limits.js';

export interface Invocation {
  caller: Principal;
  name: string;
  /** The newest when undefined. */
  version: string | undefined;
  arguments: unknown;
  idempotencyKey: string | null;
  requestId: string;
  /** Milliseconds that the caller waits; the tool's own limit when null. */
  deadlineMs: number | null;
  traceparent: string | null;
  /** Aborts when the caller hangs up. */
  signal: AbortSignal;
}

export interface InvocationAnswer {
  body: InvokeResponse;
  headers: Record<string, string>;
}

const DRAIN_MS = 20_000;

/** The way of a tool call: grant → version → arguments → rate limit → (ledger) → tool → result. */
@Injectable()
export class Invocations implements BeforeApplicationShutdown {
  private readonly running = new Set<Promise<unknown>>();

  constructor(
    @Inject(ToolAcl) private readonly acl: ToolAcl,
    @Inject(Catalogue) private readonly catalogue: Catalogue,
    @Inject(Schemas) private readonly schemas: Schemas,
    @Inject(RateLimits) private readonly limits: RateLimits,
    @Inject(EffectLedger) private readonly ledger: EffectLedger,
    @Inject(ToolCaller) private readonly tools: ToolCaller,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Calls that are under way end before connections are cut: a tool's effect should find its way into the ledger. */
  async beforeApplicationShutdown(): Promise<void> {
    await Promise.race([Promise.allSettled(this.running), sleep(DRAIN_MS, undefined, { ref: false })]);
  }

  /** Failures that concern the tool are outcomes; @throws BatonError for what concerns the request or the registry. */
  async invoke(invocation: Invocation): Promise<InvocationAnswer> {
    const started = performance.now();
    let tool: RegisteredTool | undefined;
    const report = (status: string) => this.report(invocation, tool, status, performance.now() - started);
    const work = this.find(invocation).then((found) => this.perform(invocation, (tool = found)));
    this.running.add(work);
    try {
      const { outcome, headers } = await work;
      report(outcome.ok ? 'ok' : outcome.code);
      const { name, version } = tool!.definition;
      return {
        body: { tool: name, version, outcome, duration_ms: Math.round(performance.now() - started) },
        headers,
      };
    } catch (error) {
      report(error instanceof BatonError ? error.code : invocation.signal.aborted ? 'aborted' : 'internal');
      throw error;
    } finally {
      this.running.delete(work);
    }
  }

  private async find({ caller, name, version }: Invocation): Promise<RegisteredTool> {
    this.acl.require(caller.caller, name);
    return this.catalogue.require(name, version);
  }

  private async perform(
    invocation: Invocation,
    tool: RegisteredTool,
  ): Promise<{ outcome: ToolOutcome; headers: Record<string, string> }> {
    const { hash, definition } = tool;
    const { caller } = invocation;
    const errors = await this.schemas.check(hash, definition, 'parameters', invocation.arguments);
    if (errors.length > 0)
      throw new TerminalError(
        'tool-arguments-invalid',
        `The arguments do not fit ${definition.name}@${definition.version}`,
        {
          status: 422,
          errors,
        },
      );
    let headers: Record<string, string> = {};
    const admit = async () => {
      await this.tools.authorize(tool, caller);
      headers = await this.limits.consume(caller.caller, definition.name, definition.rate_limit);
    };
    const outcome =
      definition.effect === 'read'
        ? await this.read(invocation, tool, admit)
        : await this.write(invocation, tool, admit);
    return { outcome, headers };
  }

  private async read(
    invocation: Invocation,
    tool: RegisteredTool,
    admit: () => Promise<void>,
  ): Promise<ToolOutcome> {
    await admit();
    const limit = tool.definition.timeout_ms;
    await failpoint('registry.before-dispatch');
    const { outcome } = await this.dispatch(
      invocation,
      tool,
      Math.min(limit, invocation.deadlineMs ?? limit),
      invocation.signal,
    );
    await failpoint('registry.after-dispatch');
    return outcome;
  }

  /** A caller that hangs up does not end a write: its outcome is for the one who asks again with the same key. */
  private async write(
    invocation: Invocation,
    tool: RegisteredTool,
    admit: () => Promise<void>,
  ): Promise<ToolOutcome> {
    const { caller, idempotencyKey: key } = invocation;
    const { name, version, timeout_ms: limit, idempotent } = tool.definition;
    if (key === null)
      throw validationError([{ field: 'Idempotency-Key', message: 'required: this tool has side effects' }]);
    const budgetMs = Math.min(idempotent ? 2 * limit : limit, invocation.deadlineMs ?? limit);
    const call = {
      tenant: caller.tenant,
      caller: caller.caller,
      key,
      tool: name,
      version,
      argumentsHash: sha256(canonicalJson(invocation.arguments)),
    };
    return this.ledger.once(call, {
      idempotent,
      budgetMs,
      waitMs: invocation.deadlineMs ?? limit,
      signal: invocation.signal,
      admit,
      dispatch: async (timeoutMs) => {
        const answer = await this.dispatch(invocation, tool, Math.min(limit, timeoutMs));
        // The tool gave up waiting for its own handler: what the handler did is not known.
        const gaveUp =
          answer.certainty === 'answered' && !answer.outcome.ok && answer.outcome.code === 'timeout';
        return gaveUp ? { ...answer, certainty: 'unknown' } : answer;
      },
    });
  }

  private async dispatch(
    invocation: Invocation,
    tool: RegisteredTool,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Answer> {
    const { caller, idempotencyKey, requestId, traceparent } = invocation;
    const answer = await this.tools.call({
      tool,
      arguments: invocation.arguments,
      caller,
      idempotencyKey,
      requestId,
      traceparent,
      timeoutMs,
      signal,
    });
    const { outcome } = answer;
    if (!outcome.ok || outcome.truncated) return answer;
    const errors = await this.schemas.check(tool.hash, tool.definition, 'returns', outcome.result);
    if (errors.length === 0) return answer;
    const fields = errors
      .slice(0, 5)
      .map(({ field, message }) => `${field} ${message}`)
      .join('; ');
    const message = `The result of ${tool.definition.name} does not fit its schema: ${fields}`;
    return { ...answer, outcome: { ok: false, code: 'tool-output-invalid', message } };
  }

  private report(
    { caller, name, requestId }: Invocation,
    tool: RegisteredTool | undefined,
    status: string,
    durationMs: number,
  ): void {
    countInvocation(tool ? name : null, status, durationMs);
    if (status === 'ok') return;
    const { version } = tool?.definition ?? {};
    const line = {
      tool: tool ? name : undefined,
      version,
      agent_id: caller.caller,
      code: status,
      request_id: requestId,
    };
    // A caller that hung up is no failure of the tool.
    this.logger[status === 'aborted' ? 'debug' : 'warn'](
      { ...line, duration_ms: Math.round(durationMs) },
      'tool call failed',
    );
  }
}
