import { Agent, type Dispatcher } from 'undici';
import { messageOf, PROBLEM_MEDIA_TYPE, RetryableError, TerminalError, type Problem } from '#libs/contracts';
import { exchange, ExchangeTimeout, type Exchanged } from './exchange.js';

const TIMEOUT_MS = 10_000;
const MAX_BYTES = 1_048_576;

export interface HttpRequest {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  headers?: Record<string, string>;
  /** Sent as JSON. */
  body?: unknown;
  /** Milliseconds for the whole exchange. Default 10,000. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** Bytes of the answer that are read. Default 1 MiB. */
  maxBytes?: number;
  /** Of `bytes` only; see `ExchangeRequest`. */
  wantsBody?: (status: number) => boolean;
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
      // An exchange has its own deadline.
      headersTimeout: 0,
      bodyTimeout: 0,
      ...options,
    });
  }

  /**
   * @throws RetryableError, TerminalError as above; `response-too-large` (502) for an answer beyond `maxBytes`,
   * `malformed-response` (502) for one that is no JSON; the signal's reason on abort
   */
  async json<T>(url: string, options: HttpRequest = {}): Promise<HttpAnswer<T>> {
    const { status, headers, bytes, truncated } = await this.bytes(url, options);
    if (truncated)
      throw new TerminalError(
        'response-too-large',
        `The answer is larger than ${maxBytesOf(options)} bytes`,
        { status: 502 },
      );
    const text = bytes.toString();
    if (status >= 400) throw errorFromAnswer(status, headers, text);
    return { status, headers, body: parseJson<T>(text) };
  }

  /**
   * The answer as it comes, whatever its status; of one beyond `maxBytes` the beginning.
   * @throws RetryableError `unreachable`, `timeout`; the signal's reason on abort
   */
  async bytes(url: string, options: HttpRequest = {}): Promise<Exchanged> {
    const { method = 'GET', headers = {}, body, timeoutMs = TIMEOUT_MS, signal } = options;
    try {
      return await exchange(this.dispatcher, url, {
        method,
        headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body),
        timeoutMs,
        signal,
        maxBytes: maxBytesOf(options),
        wantsBody: options.wantsBody,
      });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (error instanceof ExchangeTimeout)
        throw new RetryableError('timeout', `No answer from ${originOf(url)} in time`, {
          status: 504,
          cause: error,
        });
      throw new RetryableError('unreachable', `${originOf(url)} is unreachable: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  close(): Promise<void> {
    return this.dispatcher.destroy();
  }
}

const maxBytesOf = ({ maxBytes = MAX_BYTES }: HttpRequest): number => maxBytes;

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

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : 'the service';
}
