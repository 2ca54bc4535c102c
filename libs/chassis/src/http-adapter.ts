import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { problemOf, PROBLEM_MEDIA_TYPE, TerminalError } from '#libs/contracts';
import { readBodies } from './json-body.js';
import { sendProblem } from './problem.filter.js';
import { rememberRoutes } from './routes.js';

const MAX_BODY_BYTES = 1_048_576;
/** Node looks for requests that are late this often. */
const LATE_CHECK_MS = 1000;
/** Beyond it the answer is 414; what a route takes is checked there. */
const MAX_PATH_PARAMETER = 1000;

export interface HttpRules {
  /** Bytes of a request body, as it arrives and unpacked. Default 1 MiB. */
  maxBodyBytes?: number;
  /** Paths whose bodies are forms instead of JSON; see `BodyRules`. */
  formPaths?: string[];
  /** Lets a route answer in its own terms for a body that was refused before it reached the route: returns the error to raise. */
  explainBodyError?: (error: unknown, request: FastifyRequest) => unknown;
  /** Addresses and networks whose `X-Forwarded-For` names the client; nobody's by default, as any client can send the header. */
  trustedProxies?: string[];
}

/**
 * The HTTP server of a service, with the limits of its requests: a header and a body that are late end with 408 and the connection,
 * as Node counts them.
 */
export function httpAdapter(
  { maxBodyBytes = MAX_BODY_BYTES, trustedProxies = [], formPaths, explainBodyError }: HttpRules,
  requestTimeoutMs: number,
): FastifyAdapter {
  const adapter = new FastifyAdapter({
    bodyLimit: maxBodyBytes,
    trustProxy: trustedProxies.length > 0 && trustedProxies,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_PATH_PARAMETER },
    requestTimeout: requestTimeoutMs,
    http: { headersTimeout: requestTimeoutMs, connectionsCheckingInterval: LATE_CHECK_MS },
    clientErrorHandler: answerClientError,
    frameworkErrors: (error: { statusCode?: number }, _request: unknown, reply: FastifyReply) =>
      sendProblem(reply, pathError(error.statusCode)),
  });
  const instance = adapter.getInstance();
  rememberRoutes(instance);
  readBodies(instance, { maxBytes: maxBodyBytes, formPaths, explain: explainBodyError });
  return adapter;
}

function pathError(status: number | undefined): TerminalError {
  if (status === 414) return new TerminalError('uri-too-long', 'A part of the path is too long', { status });
  return new TerminalError('malformed-request', 'The path is not valid', { status: 400 });
}

const CLIENT_ERRORS: Record<string, [number, string, string]> = {
  HPE_HEADER_OVERFLOW: [431, 'headers-too-large', 'The request headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'request-timeout', 'The request did not arrive in time'],
};

/** Node keeps there the answer that is being written. */
type HttpSocket = Socket & { _httpMessage?: ServerResponse };

/** Errors below Fastify: the request never became one, so the answer is written by hand. */
function answerClientError(error: NodeJS.ErrnoException, socket: HttpSocket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return;
  if (socket._httpMessage?.headersSent) {
    socket.destroy();
    return;
  }
  const [status, code, detail] = CLIENT_ERRORS[error.code ?? ''] ?? [
    400,
    'malformed-request',
    'This is not a valid HTTP request',
  ];
  const body = JSON.stringify(problemOf(new TerminalError(code, detail, { status })));
  socket.end(
    `HTTP/1.1 ${status} ${code}\r\ncontent-type: ${PROBLEM_MEDIA_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
