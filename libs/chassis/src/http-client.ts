import { Deadline } from './deadline.js';
import { Agent, request, type Dispatcher } from 'undici';
import { messageOf, PROBLEM_MEDIA_TYPE, RetryableError, TerminalError, type Problem } from '#libs/contracts';

export interface HttpRequest {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  headers?: Record<string, string>;
  /** Sent as JSON. */
  body?: unknown;
  /** Milliseconds for the whole exchange. Default 10,000. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** Bytes of the answer that are read; a longer one raises `response-too-large`. Default 1 MiB. */
  maxBytes?: number;
}

export interface HttpAnswer<T> {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: T;
}

/**
 * JSON over HTTP between services: keep-alive, deadline, no redirects, bounded answers, no retries.
 * A problem+json answer is raised as the error that it describes (4xx but 408/425/429: `TerminalError`, else `RetryableError`);
 * a refused or broken connection as `RetryableError` `unreachable` (`cause` tells whether the request may have arrived),
 * a passed deadline as `RetryableError` `timeout`.
 */
export class HttpClient {
  private readonly dispatcher: Dispatcher;

  constructor(options: Agent.Options = {}) {
    this.dispatcher = new Agent({
      connections: 256,
      pipelining: 1,
      keepAliveTimeout: 30_000,
      connectTimeout: 3_000,
      ...options,
    });
  }

  async json<T>(url: string, options: HttpRequest = {}): Promise<HttpAnswer<T>> {
    const deadline = new Deadline(options.timeoutMs ?? 10_000, options.signal);
    try {
      const { statusCode, headers, body } = await request(url, {
        dispatcher: this.dispatcher,
        method: options.method ?? 'GET',
        headers: {
          ...options.headers,
          ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: options.body === undefined ? undefined : JSON.stringify(options.body),
        signal: deadline.signal,
      });
      const text = await readBounded(body, options.maxBytes ?? 1_048_576);
      if (statusCode >= 400) throw errorFromAnswer(statusCode, headers, text);
      return { status: statusCode, headers, body: parseJson<T>(text) };
    } catch (error) {
      if (options.signal?.aborted) throw options.signal.reason;
      if (deadline.passed)
        throw new RetryableError('timeout', `No answer from ${originOf(url)} in time`, {
          status: 504,
          cause: error,
        });
      throw wrapNetworkError(error, url);
    } finally {
      deadline.clear();
    }
  }

  /** Starts a request whose answer is consumed as a stream by the caller; only connection errors are mapped. */
  async stream(
    url: string,
    options: Pick<HttpRequest, 'headers' | 'method' | 'body' | 'signal'> = {},
  ): Promise<Dispatcher.ResponseData> {
    try {
      return await request(url, {
        dispatcher: this.dispatcher,
        method: options.method ?? 'GET',
        headers: {
          ...options.headers,
          ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: options.body === undefined ? undefined : JSON.stringify(options.body),
        signal: options.signal,
        bodyTimeout: 0,
      });
    } catch (error) {
      if (options.signal?.aborted) throw options.signal.reason;
      throw wrapNetworkError(error, url);
    }
  }

  close(): Promise<void> {
    return this.dispatcher.destroy();
  }
}

async function readBounded(body: Dispatcher.ResponseData['body'], maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      body.destroy();
      throw new TerminalError('response-too-large', `The answer is larger than ${maxBytes} bytes`, {
        status: 502,
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson<T>(text: string): T {
  if (text === '') return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new TerminalError('malformed-response', 'The answer is not JSON', { status: 502, cause: error });
  }
}

function errorFromAnswer(status: number, headers: HttpAnswer<unknown>['headers'], text: string): Error {
  const problem = problemIn(headers, text);
  const code = problem?.code ?? `http-${status}`;
  const detail = problem?.detail ?? `The service answered ${status}`;
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    const seconds = Number(headers['retry-after']);
    return new RetryableError(code, detail, {
      status,
      retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : undefined,
    });
  }
  return new TerminalError(code, detail, { status, errors: problem?.errors });
}

/** A problem that cannot be read does not change what the status says. */
function problemIn(headers: HttpAnswer<unknown>['headers'], text: string): Partial<Problem> | null {
  if (!String(headers['content-type'] ?? '').startsWith(PROBLEM_MEDIA_TYPE)) return null;
  try {
    return JSON.parse(text) as Partial<Problem> | null;
  } catch {
    return null;
  }
}

/** Errors raised before a byte of the request was sent. */
const NOT_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** True when the request behind `error` cannot have reached the service. */
export function wasNotSent(error: unknown): boolean {
  const cause = error instanceof RetryableError ? error.cause : error;
  return NOT_SENT.has((cause as { code?: string } | undefined)?.code ?? '');
}

function wrapNetworkError(error: unknown, url: string): Error {
  if (error instanceof TerminalError || error instanceof RetryableError) return error;
  return new RetryableError('unreachable', `${originOf(url)} is unreachable: ${messageOf(error)}`, {
    cause: error,
  });
}

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : 'the service';
}
