import { pipeline } from 'node:stream/promises';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import type { Request, Response } from 'express';
import { Tokens, type Principal } from '#libs/auth';
import { clientLeft, HttpClient } from '#libs/chassis';
import { RetryableError } from '#libs/contracts';

const PASSED_ON = ['idempotency-key', 'last-event-id', 'traceparent', 'tracestate', 'accept'];
const PASSED_BACK = [
  'content-type',
  'location',
  'retry-after',
  'ratelimit',
  'ratelimit-policy',
  'allow',
  'cache-control',
  'x-accel-buffering',
];

export interface Forward {
  agent: { id: string; url: string };
  /** Path and query at the agent. */
  path: string;
  caller: Principal;
  /** Milliseconds until the agent's answer must have begun. */
  timeoutMs: number;
}

/** Hands a request to an agent and its answer back as it comes, without buffering; a client that leaves ends both. */
@Injectable()
export class Forwarder implements OnApplicationShutdown {
  private readonly http = new HttpClient();

  constructor(@Inject(Tokens) private readonly tokens: Tokens) {}

  /** @throws RetryableError `unreachable`, `identity-unavailable` (503), `timeout` (504); ClientLeft */
  async forward(
    request: Request,
    response: Response,
    { agent, path, caller, timeoutMs }: Forward,
  ): Promise<void> {
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new RetryableError('timeout', `${agent.id} did not answer in time`, { status: 504 })),
      timeoutMs,
    );
    const answer = await this.http
      .stream(agent.url + path, {
        method: request.method as 'GET' | 'POST',
        headers: await this.headers(request, agent.id, caller),
        body: request.body,
        signal: AbortSignal.any([clientLeft(response), late.signal]),
      })
      .finally(() => clearTimeout(timer));
    response.status(answer.statusCode);
    for (const name of PASSED_BACK) {
      const value = answer.headers[name];
      if (value !== undefined) response.setHeader(name, name === 'location' ? `/v1${String(value)}` : value);
    }
    response.flushHeaders();
    // A stream that breaks on either side is cut on the other: the reader resumes, or sees that the answer is not whole.
    await pipeline(answer.body, response).catch(() => response.destroy());
  }

  /** A JSON document of an agent. @throws as `HttpClient.json` */
  async get<T>(agent: { id: string; url: string }, path: string, caller: Principal): Promise<T> {
    const headers = { authorization: await this.tokens.authorization(agent.id, caller) };
    return (await this.http.json<T>(agent.url + path, { headers, timeoutMs: 3000 })).body;
  }

  private async headers(
    request: Request,
    agentId: string,
    caller: Principal,
  ): Promise<Record<string, string>> {
    const headers: Record<string, string> = {
      authorization: await this.tokens.authorization(agentId, caller),
    };
    for (const name of PASSED_ON) {
      const value = request.headers[name];
      if (typeof value === 'string') headers[name] = value;
    }
    return headers;
  }

  async onApplicationShutdown(): Promise<void> {
    await this.http.close();
  }
}
