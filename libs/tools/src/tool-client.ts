import type { OnApplicationShutdown } from '@nestjs/common';
import type { Subject, Tokens } from '#libs/auth';
import { backoffMs, HttpClient, pause, wasNotSent } from '#libs/chassis';
import {
  BatonError,
  messageOf,
  TerminalError,
  type InvokeRequest,
  type InvokeResponse,
  type ToolDefinition,
  type ToolEffect,
  type ToolOutcome,
} from '#libs/contracts';

/** What an agent has to know of a tool. */
export type ToolSummary = Pick<
  ToolDefinition,
  'name' | 'version' | 'description' | 'parameters' | 'effect' | 'timeout_ms'
>;

export interface ToolCall {
  name: string;
  /** The pinned version. */
  version: string;
  arguments: unknown;
  /** The same for every attempt of this call, also after a crash of the agent. */
  idempotencyKey: string;
  /** For whom the agent acts. */
  on: Subject;
  /** Milliseconds left for the call, all attempts included. */
  deadlineMs: number;
  signal: AbortSignal;
  traceparent?: string | null;
}

const LIST_FRESH_MS = 5000;
/** Of a list that lacks a tool which the agent declares: its service may be on its way up. */
const PARTIAL_LIST_FRESH_MS = 250;
/** A registry that is away for a moment does not hide the tools it had. */
const LIST_STALE_MS = 60_000;
const MAX_ATTEMPTS = 6;
const BACKOFF = { baseMs: 100, maxMs: 5000 };
const MAX_ANSWER_BYTES = 2 * 1_048_576;

/** An agent's way to its tools: through the registry, as the agent that `tokens` speaks for. */
export class ToolClient implements OnApplicationShutdown {
  private readonly registryUrl: string;
  private readonly tokens: Tokens;
  private readonly http: HttpClient;
  private readonly declared: readonly string[];
  private readonly effects = new Map<string, ToolEffect>();
  private listed?: { tools: ToolSummary[]; at: number };
  private listing?: Promise<ToolSummary[]>;

  /** @param options.declared names of the tools that the agent wants: a list without one of them is remembered for 0.25 s only */
  constructor(options: {
    registryUrl: string;
    tokens: Tokens;
    http?: HttpClient;
    declared?: readonly string[];
  }) {
    this.registryUrl = options.registryUrl.replace(/\/+$/, '');
    this.tokens = options.tokens;
    this.http = options.http ?? new HttpClient();
    this.declared = options.declared ?? [];
  }

  /**
   * The newest version of every tool that this agent may use; the same for all tenants and users, remembered for 5 s.
   * @throws RetryableError when the registry is away and nothing newer than a minute is remembered; the signal's reason on abort.
   */
  async list(signal?: AbortSignal): Promise<ToolSummary[]> {
    signal?.throwIfAborted();
    if (this.listed && performance.now() - this.listed.at < this.freshMs(this.listed.tools))
      return this.listed.tools;
    this.listing ??= this.fetchList().finally(() => (this.listing = undefined));
    return signal ? abortable(this.listing, signal) : this.listing;
  }

  /**
   * Calls a tool. A failure that the model can work with is an outcome; the registry being away is retried within the deadline
   * with the same idempotency key, and ends as `unavailable`, or `outcome_unknown` when a write may have happened.
   * While identity is away, which refuses nothing and sends nothing, it is asked again until the deadline.
   * @throws the signal's reason on abort; TerminalError `unauthenticated` when identity no longer takes the subject's token.
   */
  async invoke(call: ToolCall): Promise<ToolOutcome> {
    const end = performance.now() + call.deadlineMs;
    let mayHaveArrived = false;
    for (let attempt = 0, waits = 0; ;) {
      call.signal.throwIfAborted();
      const left = Math.floor(end - performance.now());
      if (left < 1) return this.exhausted(call, mayHaveArrived);
      try {
        return await this.attempt(call, left);
      } catch (error) {
        if (call.signal.aborted) throw call.signal.reason;
        const outcome = refusal(error);
        if (outcome) return outcome;
        if (isIdentityAway(error)) waits += 1;
        else {
          attempt += 1;
          mayHaveArrived ||= !wasNotSent(error);
        }
      }
      const waitMs = backoffMs(attempt + waits - 1, BACKOFF);
      if (attempt >= MAX_ATTEMPTS || performance.now() + waitMs >= end)
        return this.exhausted(call, mayHaveArrived);
      await pause(waitMs, call.signal);
    }
  }

  onApplicationShutdown(): Promise<void> {
    return this.http.close();
  }

  private async attempt(call: ToolCall, left: number): Promise<ToolOutcome> {
    const request: InvokeRequest = { version: call.version, arguments: call.arguments };
    // The registry gets a little less, so that its own `timeout` outcome arrives before this side hangs up.
    const deadline = Math.max(1, left - Math.min(250, Math.ceil(left / 10)));
    const { body } = await this.http.json<InvokeResponse>(`${this.registryUrl}/tools/${call.name}/invoke`, {
      method: 'POST',
      headers: {
        authorization: await this.tokens.authorization('tool-registry', call.on),
        'idempotency-key': call.idempotencyKey,
        'x-request-id': call.idempotencyKey,
        'x-deadline-ms': String(deadline),
        ...(call.traceparent ? { traceparent: call.traceparent } : {}),
      },
      body: request,
      timeoutMs: left,
      signal: call.signal,
      maxBytes: MAX_ANSWER_BYTES,
    });
    return body.outcome;
  }

  /** A tool whose effect is not known here counts as one that writes. */
  private exhausted(call: ToolCall, mayHaveArrived: boolean): ToolOutcome {
    if (mayHaveArrived && this.effects.get(call.name) !== 'read')
      return {
        ok: false,
        code: 'outcome_unknown',
        message: `Whether ${call.name} took effect is not known: the tool registry did not answer. Do not simply call it again.`,
      };
    return { ok: false, code: 'unavailable', message: `${call.name} cannot be reached at the moment` };
  }

  private freshMs(tools: readonly ToolSummary[]): number {
    const isWhole = this.declared.every((wanted) => tools.some(({ name }) => name === wanted));
    return isWhole ? LIST_FRESH_MS : PARTIAL_LIST_FRESH_MS;
  }

  private async fetchList(): Promise<ToolSummary[]> {
    try {
      const { body } = await this.http.json<{ tools: ToolSummary[] }>(`${this.registryUrl}/tools`, {
        headers: { authorization: await this.tokens.authorization('tool-registry') },
        timeoutMs: 5000,
        maxBytes: 8 * 1_048_576,
      });
      for (const tool of body.tools) this.effects.set(tool.name, tool.effect);
      this.listed = { tools: body.tools, at: performance.now() };
      return body.tools;
    } catch (error) {
      const known = this.listed;
      if (known && !(error instanceof TerminalError) && performance.now() - known.at < LIST_STALE_MS)
        return known.tools;
      throw error;
    }
  }
}

/** Here or at the registry: in both cases the call did not reach the tool. */
const isIdentityAway = (error: unknown): boolean =>
  error instanceof BatonError && error.code === 'identity-unavailable';

/** The registry's refusals that the model gets to see; undefined for what another attempt may mend. */
function refusal(error: unknown): ToolOutcome | undefined {
  if (!(error instanceof BatonError) || error.status === 401) throw error;
  // 408: the body was slow; 409: another attempt with the same key is under way.
  const passing = error.status >= 500 || error.status === 408 || error.status === 409 || error.status === 425;
  if (passing) return undefined;
  const fields = (error.errors ?? []).map(({ field, message }) => `${field}: ${message}`).join('; ');
  return {
    ok: false,
    code: error.code,
    message: fields ? `${messageOf(error)} (${fields})` : messageOf(error),
  };
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
