import type { FastifyRequest } from 'fastify';
import { pathOf } from '#libs/chassis';
import { TerminalError, type BatonError } from '#libs/contracts';

/** OpenAI's form of an error. */
export function errorBody(status: number, message: string, code: string) {
  return { error: { message, type: typeOf(status), param: null, code } };
}

/** Errors under `/v1` look as OpenAI's do; all others stay problem+json. */
export function openAiError(error: BatonError, request: FastifyRequest): object | undefined {
  return pathOf(request).startsWith('/v1/') ? errorBody(error.status, error.message, error.code) : undefined;
}

export function invalidRequest(message: string): TerminalError {
  return new TerminalError('invalid_request', message, { status: 400 });
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}
