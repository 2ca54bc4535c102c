import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { failpoint, LOGGER } from '#libs/chassis';
import { messageOf, RetryableError, TerminalError, type ToolOutcome } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import type { Answer } from '../endpoints/tool-caller.js';
import { EffectsRepository, type Effect, type EffectCall } from './effects.repository.js';

export interface EffectOptions {
  /** The tool recognises a repeated key itself. */
  idempotent: boolean;
  /** Milliseconds for all dispatches of this attempt. */
  budgetMs: number;
  /** Milliseconds that the caller waits for an attempt which runs elsewhere. */
  waitMs: number;
  /** Passed once before an effect that is new; throws when there may be none now (rate limit). */
  admit(): Promise<void>;
  /** Aborts when the caller is gone: what has not begun then does not begin. */
  signal: AbortSignal;
  /** Asks the tool, within `timeoutMs`. */
  dispatch(timeoutMs: number): Promise<Answer>;
}

/** Time on top of the budget in which an attempt has to store its outcome before others may take over. */
const STORE_GRACE_MS = 2000;
const STORE_PAUSES_MS = [50, 200, 500];
const POLL = { firstMs: 25, maxMs: 500 };
const MIN_DISPATCH_MS = 50;

/**
 * A tool with side effects runs its effect at most once per key. The claim (`started`) is committed before the tool is asked,
 * the outcome (`done`, `unknown`) before the caller hears of it; who comes again with the key gets the stored outcome.
 * An attempt whose outcome is not known is repeated, with the same key, only for a tool that recognises it;
 * otherwise it ends `outcome_unknown` for good.
 */
@Injectable()
export class EffectLedger {
  /** Attempts of this process, so that many callers with one key share one wait. */
  private readonly running = new Map<string, { call: EffectCall; outcome: Promise<ToolOutcome> }>();

  constructor(
    @Inject(EffectsRepository) private readonly effects: EffectsRepository,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * @throws TerminalError 422 `idempotency-key-reused` for another tool or other arguments under the key;
   * RetryableError 409 `idempotency-key-in-flight` when an attempt elsewhere outlasts `waitMs`, 503 when Postgres is away.
   */
  async once(call: EffectCall, options: EffectOptions): Promise<ToolOutcome> {
    const id = JSON.stringify([call.tenant, call.caller, call.key]);
    const shared = this.running.get(id);
    if (shared) {
      requireSame(call, shared.call);
      return shared.outcome;
    }
    const outcome = this.claim(call, options).finally(() => this.running.delete(id));
    this.running.set(id, { call, outcome });
    return outcome;
  }

  private async claim(call: EffectCall, options: EffectOptions): Promise<ToolOutcome> {
    await failpoint('registry.before-ledger');
    const end = performance.now() + options.waitMs;
    for (let pause = POLL.firstMs; ; pause = Math.min(pause * 2, POLL.maxMs)) {
      if (await this.effects.begin(call, options.budgetMs + STORE_GRACE_MS)) return this.first(call, options);
      const effect = await this.effects.find(call);
      const settled = effect && (await this.settled(call, effect, options));
      if (settled) return settled;
      if (performance.now() + pause >= end) throw inFlight();
      await sleep(pause);
    }
  }

  private async first(call: EffectCall, options: EffectOptions): Promise<ToolOutcome> {
    try {
      await options.admit();
      options.signal.throwIfAborted();
    } catch (refusal) {
      await this.effects.forget(call, 1);
      throw refusal;
    }
    return this.perform(call, 1, options);
  }

  /** How an effect that is known already ends; undefined while it runs elsewhere. */
  private async settled(
    call: EffectCall,
    effect: Effect,
    options: EffectOptions,
  ): Promise<ToolOutcome | undefined> {
    requireSame(call, effect);
    if (effect.state !== 'started') return effect.outcome!;
    if (!effect.expired) return undefined;
    if (!options.idempotent) {
      const outcome = outcomeUnknown(call.tool);
      return (await this.effects.finish(call, effect.attempt, 'unknown', outcome)) ? outcome : undefined;
    }
    options.signal.throwIfAborted();
    const mine = await this.effects.takeOver(call, effect.attempt, options.budgetMs + STORE_GRACE_MS);
    return mine ? this.perform(call, effect.attempt + 1, options) : undefined;
  }

  private async perform(call: EffectCall, attempt: number, options: EffectOptions): Promise<ToolOutcome> {
    const end = performance.now() + options.budgetMs;
    await failpoint('registry.before-dispatch');
    const answer = await options.dispatch(Math.floor(options.budgetMs));
    let { certainty } = answer;
    let { outcome } = answer;
    const left = Math.floor(end - performance.now());
    if (certainty === 'unknown' && options.idempotent && left >= MIN_DISPATCH_MS) {
      const again = await options.dispatch(left);
      if (again.certainty === 'answered') ({ certainty, outcome } = again);
    }
    await failpoint('registry.after-dispatch');
    // After a take-over the attempt before it may have had the effect.
    if (certainty === 'not-sent' && attempt === 1) {
      await this.effects.forget(call, attempt);
      return outcome;
    }
    const known = certainty === 'answered';
    return this.store(call, attempt, known ? 'done' : 'unknown', known ? outcome : outcomeUnknown(call.tool));
  }

  /** A tool's answer is not lost to a short absence of Postgres; after that the caller still gets it, and the row expires. */
  private async store(
    call: EffectCall,
    attempt: number,
    state: 'done' | 'unknown',
    outcome: ToolOutcome,
  ): Promise<ToolOutcome> {
    for (let tries = 0; ; tries++)
      try {
        const counts = await this.effects.finish(call, attempt, state, outcome);
        await failpoint('registry.after-ledger');
        return counts ? outcome : ((await this.effects.find(call))?.outcome ?? outcome);
      } catch (error) {
        const pause = STORE_PAUSES_MS[tries];
        if (!(error instanceof RetryableError)) throw error;
        if (pause === undefined) {
          this.logger.error(
            { tool: call.tool, request_id: call.key, err: messageOf(error) },
            'outcome not stored',
          );
          return outcome;
        }
        await sleep(pause);
      }
  }
}

function outcomeUnknown(tool: string): ToolOutcome {
  return {
    ok: false,
    code: 'outcome_unknown',
    message: `Whether ${tool} took effect is not known. Do not simply call it again: check first, or tell the user.`,
  };
}

function requireSame(call: EffectCall, known: Pick<EffectCall, 'tool' | 'version' | 'argumentsHash'>): void {
  if (
    call.tool === known.tool &&
    call.version === known.version &&
    call.argumentsHash === known.argumentsHash
  )
    return;
  throw new TerminalError('idempotency-key-reused', 'The idempotency key was used for another call', {
    status: 422,
  });
}

function inFlight(): RetryableError {
  return new RetryableError('idempotency-key-in-flight', 'A call with this idempotency key is under way', {
    status: 409,
    retryAfterMs: 1000,
  });
}
