import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { throwError, type Observable } from 'rxjs';
import { BatonError, messageOf, problemOf, PROBLEM_MEDIA_TYPE, TerminalError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { ClientLeft } from './client-left.js';
import { isAbandoned, type Call } from './grpc/grpc-call.js';
import { statusOf } from './grpc/problem-status.js';
import { retryAfterOf } from './retry-after.js';
import { allowedMethods } from './routes.js';

const CODES: Record<number, string> = {
  400: 'malformed-request',
  403: 'forbidden',
  404: 'not-found',
  405: 'method-not-allowed',
  413: 'payload-too-large',
  414: 'uri-too-long',
  415: 'unsupported-media-type',
};

/** Another form of error bodies for some requests, e.g. OpenAI's under `/v1`; undefined keeps problem+json. */
export type ErrorBody = (error: BatonError, request: FastifyRequest) => object | undefined;

/**
 * The one place where errors become answers: RFC 9457 over HTTP, status and trailers over gRPC. What is not a `BatonError` is
 * logged and answered as 500 `internal`; for a client that left there is nobody to answer, and its leaving is no failure.
 */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(
    private readonly logger: Logger,
    private readonly errorBody?: ErrorBody,
  ) {}

  catch(thrown: unknown, host: ArgumentsHost): Observable<never> | void {
    if (host.getType() === 'rpc') {
      const error = this.toBatonError(thrown);
      const call = host.getArgByIndex<Call | undefined>(2);
      if (call && isAbandoned(call) && isExpected(thrown))
        this.logger.debug({ code: error.code }, 'nobody waits for the answer of the call');
      else this.log(thrown, error);
      return throwError(() => Object.assign(new Error(error.message), statusOf(error)));
    }
    const http = host.switchToHttp();
    const [request, reply] = [http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>()];
    if (thrown instanceof ClientLeft || (thrown !== null && thrown === request.raw.errored)) {
      this.logger.debug({ method: request.method }, new ClientLeft().message);
      cutOff(reply);
      return;
    }
    const error = this.toBatonError(thrown, request);
    this.log(thrown, error);
    sendProblem(reply, error, this.errorBody?.(error, request));
  }

  /** What may succeed later (a drain, a server that is away) is no fault of the code: its message says all. */
  private log(thrown: unknown, { status, code, retryable }: BatonError): void {
    if (status < 500) return;
    const fields = { code, err: messageOf(thrown) };
    if (retryable) this.logger.warn(fields, 'request failed');
    else this.logger.error({ ...fields, stack: (thrown as Error)?.stack }, 'request failed');
  }

  private toBatonError(thrown: unknown, request?: FastifyRequest): BatonError {
    if (thrown instanceof BatonError) return thrown;
    if (thrown instanceof HttpException) {
      const status = thrown.getStatus();
      const allow = request && status === 404 ? allowedMethods(request) : [];
      if (allow.length > 0 && !allow.includes(request!.method))
        return new TerminalError('method-not-allowed', `Use ${allow.join(' or ')}`, {
          status: 405,
          headers: { allow: allow.join(', ') },
        });
      const detail = request ? detailOf(status, request) : undefined;
      return new TerminalError(CODES[status] ?? `http-${status}`, detail ?? thrown.message, { status });
    }
    return new TerminalError('internal', 'Something went wrong; the log has the details', { status: 500 });
  }
}

/** What Fastify's own refusals leave out. */
function detailOf(status: number, { routeOptions }: FastifyRequest): string | undefined {
  if (status === 413) return `The body is too large: at most ${routeOptions.bodyLimit} bytes`;
  if (status === 415) return 'The Content-Type is not valid';
  return undefined;
}

/** Raised on purpose, or by what the end of a call aborts: no bug. */
function isExpected(thrown: unknown): boolean {
  return thrown instanceof BatonError || (thrown as Error | null)?.name === 'AbortError';
}

/**
 * Writes `error` as problem+json (or as `body`) unless the answer has begun, in which case the connection is cut so that no half
 * answer looks whole. No cache keeps it.
 */
export function sendProblem(reply: FastifyReply, error: BatonError, body?: object): void {
  if (reply.sent || reply.raw.headersSent) {
    cutOff(reply);
    return;
  }
  // Of a body that is refused before its end; a client that still writes would lose the answer. What comes is read and dropped.
  reply.removeHeader('connection');
  const retryAfter = retryAfterOf(error);
  reply.status(error.status).headers({ 'cache-control': 'no-store', ...error.headers });
  if (retryAfter !== undefined) reply.header('retry-after', retryAfter);
  if (body) reply.send(body);
  else reply.type(PROBLEM_MEDIA_TYPE).send(JSON.stringify(problemOf(error)));
}

/** Ends the connection without an answer. */
function cutOff(reply: FastifyReply): void {
  reply.hijack();
  reply.raw.destroy();
}
