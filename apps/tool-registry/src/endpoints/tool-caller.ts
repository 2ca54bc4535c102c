import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Tokens, type Principal } from '#libs/auth';
import { HttpClient, wasNotSent } from '#libs/chassis';
import { BatonError, type ToolOutcome, type ToolServiceRequest } from '#libs/contracts';
import type { RegisteredTool } from '../catalogue/registered-tool.js';
import { ENDPOINT_FORBIDDEN, EndpointPolicy } from './endpoint-policy.js';
import { MAX_RESULT_BYTES, readOutcome } from './read-answer.js';

export interface ToolRequest {
  tool: RegisteredTool;
  arguments: unknown;
  caller: Principal;
  idempotencyKey: string | null;
  requestId: string;
  traceparent: string | null;
  /** Milliseconds for the exchange. */
  timeoutMs: number;
  signal?: AbortSignal;
}

/**
 * How sure it is what happened: the tool `answered`; the request was `not-sent`; or `unknown`, the request may have had its
 * effect although no answer says so. `outcome` is what a caller of a read tool gets in each case.
 */
export interface Answer {
  certainty: 'answered' | 'not-sent' | 'unknown';
  outcome: ToolOutcome;
}

/** Posts calls to the endpoints of tools: no redirects, every address checked, answers bounded. Never throws but on abort. */
@Injectable()
export class ToolCaller implements OnApplicationShutdown {
  private readonly http: HttpClient;

  constructor(
    @Inject(EndpointPolicy) private readonly policy: EndpointPolicy,
    @Inject(Tokens) private readonly tokens: Tokens,
  ) {
    this.http = new HttpClient({ connect: { lookup: policy.lookup, timeout: 3000 } });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.http.close();
  }

  /**
   * Gets the token of a call before anything of it is written down.
   * @throws RetryableError `identity-unavailable` (503), TerminalError `unauthenticated` (401), `forbidden` (403)
   */
  async authorize(tool: RegisteredTool, caller: Principal): Promise<void> {
    if (tool.definition.auth_type === 'service') await this.tokens.authorization(tool.owner, caller);
  }

  async call(request: ToolRequest): Promise<Answer> {
    const { name, endpoint } = request.tool.definition;
    const fault = this.policy.faultOf(endpoint);
    if (fault) return notSent(forbidden(name));
    try {
      return await this.exchange(request);
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason;
      if (error instanceof BatonError && error.code === 'timeout')
        return unknown({
          ok: false,
          code: 'timeout',
          message: `${name} did not answer within ${request.timeoutMs} ms`,
        });
      if (causeCode(error) === ENDPOINT_FORBIDDEN) return notSent(forbidden(name));
      return wasNotSent(error) ? notSent(unavailable(name)) : unknown(unavailable(name));
    }
  }

  /** What a GET of the URL answers, without following it; null when nothing answers within 2 s, or the URL may not be called. */
  async probe(url: string): Promise<number | null> {
    if (this.policy.faultOf(url)) return null;
    try {
      return (await this.http.bytes(url, { timeoutMs: 2000, wantsBody: () => false })).status;
    } catch {
      return null;
    }
  }

  private async exchange(request: ToolRequest): Promise<Answer> {
    const { name, version, endpoint } = request.tool.definition;
    const body: ToolServiceRequest = { tool: name, version, params: request.arguments };
    const { status, bytes, truncated } = await this.http.bytes(endpoint, {
      method: 'POST',
      headers: await this.headersOf(request),
      body,
      timeoutMs: request.timeoutMs,
      signal: request.signal,
      maxBytes: MAX_RESULT_BYTES,
      wantsBody: isSuccess,
    });
    if (isSuccess(status)) return answered(readOutcome(bytes, truncated));
    if (status >= 500) return unknown(unavailable(name));
    if (status === 429) return answered(unavailable(name));
    return answered({
      ok: false,
      code: 'tool-error',
      message: `${name} refused the call (HTTP ${status})`,
    });
  }

  private async headersOf(request: ToolRequest): Promise<Record<string, string>> {
    const { caller, tool, timeoutMs } = request;
    // The tool gets a little less, so that its own `timeout` outcome arrives before the registry hangs up.
    const deadline = Math.max(1, timeoutMs - Math.min(200, Math.ceil(timeoutMs / 10)));
    return {
      'x-agent-id': caller.caller,
      'x-request-id': request.requestId,
      'x-deadline-ms': String(deadline),
      ...(request.idempotencyKey ? { 'idempotency-key': request.idempotencyKey } : {}),
      ...(request.traceparent ? { traceparent: request.traceparent } : {}),
      ...(tool.definition.auth_type === 'service'
        ? { authorization: await this.tokens.authorization(tool.owner, caller) }
        : {}),
    };
  }
}

const isSuccess = (status: number): boolean => status >= 200 && status < 300;

const answered = (outcome: ToolOutcome): Answer => ({ certainty: 'answered', outcome });
const notSent = (outcome: ToolOutcome): Answer => ({ certainty: 'not-sent', outcome });
const unknown = (outcome: ToolOutcome): Answer => ({ certainty: 'unknown', outcome });
const unavailable = (name: string): ToolOutcome => ({
  ok: false,
  code: 'tool-unavailable',
  message: `${name} is not available at the moment`,
});
const forbidden = (name: string): ToolOutcome => ({
  ok: false,
  code: 'tool-unavailable',
  message: `${name} lives at an address that the registry does not call`,
});

function causeCode(error: unknown): unknown {
  return ((error as { cause?: { code?: unknown } }).cause ?? {}).code;
}
