import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { Request, Response } from 'express';
import {
  BatonError,
  messageOf,
  problemOf,
  PROBLEM_MEDIA_TYPE,
  RetryableError,
  TerminalError,
} from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { ClientLeft } from './client-left.js';
import { allowedMethods } from './routes.js';

const CODES: Record<number, string> = {
  400: 'malformed-request',
  404: 'not-found',
  405: 'method-not-allowed',
};

/** Another form of error bodies for some requests, e.g. OpenAI's under `/v1`; undefined keeps problem+json. */
export type ErrorBody = (error: BatonError, request: Request) => object | undefined;

/**
 * The one place where errors become RFC 9457 answers. What is not a `BatonError` is logged and answered as 500
 * `internal`; for a client that left there is nobody to answer.
 */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(
    private readonly logger: Logger,
    private readonly errorBody?: ErrorBody,
  ) {}

  catch(thrown: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const response = http.getResponse<Response>();
    if (thrown instanceof ClientLeft) {
      this.logger.debug({ method: http.getRequest<Request>().method }, thrown.message);
      response.destroy();
      return;
    }
    const error = this.toBatonError(thrown, http.getRequest<Request>());
    if (error.status >= 500)
      this.logger.error(
        { code: error.code, err: messageOf(thrown), stack: (thrown as Error)?.stack },
        'request failed',
      );
    sendProblem(response, error, this.errorBody?.(error, http.getRequest<Request>()));
  }

  private toBatonError(thrown: unknown, request: Request): BatonError {
    if (thrown instanceof BatonError) return thrown;
    if (thrown instanceof URIError)
      return new TerminalError('malformed-request', 'The path is not valid', { status: 400 });
    if (thrown instanceof HttpException) {
      const status = thrown.getStatus();
      const allow = status === 404 ? allowedMethods(request) : [];
      if (allow.length > 0)
        return new TerminalError('method-not-allowed', `Use ${allow.join(' or ')}`, {
          status: 405,
          headers: { allow: allow.join(', ') },
        });
      return new TerminalError(CODES[status] ?? `http-${status}`, thrown.message, { status });
    }
    // Express marks errors of the request itself, e.g. a path that cannot be decoded, with a 4xx status.
    if ((thrown as { status?: number })?.status === 400)
      return new TerminalError('malformed-request', 'The request is not valid', { status: 400 });
    return new TerminalError('internal', 'Something went wrong; the log has the details', { status: 500 });
  }
}

/** Writes `error` as problem+json (or as `body`) unless the answer has begun, in which case the connection is cut so that no half answer looks whole. */
export function sendProblem(response: Response, error: BatonError, body?: object): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  for (const [name, value] of Object.entries(error.headers ?? {})) response.setHeader(name, value);
  if (error instanceof RetryableError && error.retryAfterMs !== undefined)
    response.setHeader('retry-after', String(Math.max(1, Math.ceil(error.retryAfterMs / 1000))));
  else if (error.status === 503) response.setHeader('retry-after', '1');
  if (body) response.status(error.status).json(body);
  else
    response
      .status(error.status)
      .type(PROBLEM_MEDIA_TYPE)
      .send(JSON.stringify(problemOf(error)));
}
