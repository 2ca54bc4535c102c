import type { FastifyRequest } from 'fastify';
import { pathOf } from '#libs/chassis';
import { TerminalError, type BatonError } from '#libs/contracts';

/** RFC 6749 (section 5.2), RFC 8707 (`invalid_target`), RFC 8693. */
export const OAUTH_ERRORS = [
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unsupported_grant_type',
  'invalid_scope',
  'invalid_target',
] as const;
export type OAuthErrorCode = (typeof OAUTH_ERRORS)[number];

export const TOKEN_PATH = '/oauth/token';

/** An error of the token endpoint; its code is what the body says under `error`. */
export function oauthError(code: OAuthErrorCode, description: string): TerminalError {
  if (code !== 'invalid_client') return new TerminalError(code, description, { status: 400 });
  return new TerminalError(code, description, {
    status: 401,
    headers: { 'www-authenticate': 'Basic realm="baton", charset="UTF-8"' },
  });
}

export function isOAuthError(code: string): code is OAuthErrorCode {
  return (OAUTH_ERRORS as readonly string[]).includes(code);
}

/** The body of an error of the token endpoint; undefined on other paths. */
export function oauthErrorBody(error: BatonError, request: FastifyRequest): object | undefined {
  if (pathOf(request) !== TOKEN_PATH) return undefined;
  return { error: codeOf(error), error_description: error.message };
}

function codeOf({ code, retryable, status }: BatonError): string {
  if (isOAuthError(code)) return code;
  if (retryable) return 'temporarily_unavailable';
  return status < 500 ? 'invalid_request' : 'server_error';
}
