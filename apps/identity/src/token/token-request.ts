import { ACCESS_TOKEN_TYPE, API_KEY_TYPE, TOKEN_EXCHANGE } from '#libs/auth';
import { oauthError } from './oauth-error.js';

export interface TokenRequest {
  grant: 'client_credentials' | 'token_exchange';
  audience: string[];
  /** Null: everything that may be had. */
  scopes: string[] | null;
  subjectToken: string | null;
  subjectTokenType: string | null;
}

const MAX_AUDIENCES = 16;
const MAX_TOKEN_CHARS = 8192;
const NAME = /^[a-z][a-z0-9-]{0,62}$/;
/** RFC 8707 and RFC 8693 let these be given more than once. */
const REPEATABLE = new Set(['audience']);

/** @throws TerminalError `invalid_request`, `unsupported_grant_type` (400) */
export function readTokenRequest(form: URLSearchParams): TokenRequest {
  for (const name of new Set(form.keys()))
    if (form.getAll(name).length > 1 && !REPEATABLE.has(name))
      throw oauthError('invalid_request', `${name.slice(0, 64)} is given more than once`);
  const audience = form.getAll('audience').filter(Boolean);
  const request = {
    audience,
    scopes: form.get('scope')?.split(' ').filter(Boolean) ?? null,
    subjectToken: null,
    subjectTokenType: null,
  };
  const grant = grantOf(form);
  if (audience.length === 0 || audience.length > MAX_AUDIENCES || !audience.every((name) => NAME.test(name)))
    throw oauthError('invalid_request', 'audience: the name of the service to call is wanted');
  if (grant === 'client_credentials') return { ...request, grant };
  return { ...request, grant, ...subjectOf(form) };
}

function grantOf(form: URLSearchParams): TokenRequest['grant'] {
  const grant = form.get('grant_type');
  if (grant === 'client_credentials') return grant;
  if (grant === TOKEN_EXCHANGE) return 'token_exchange';
  if (!grant) throw oauthError('invalid_request', 'grant_type is wanted');
  throw oauthError('unsupported_grant_type', `Use client_credentials or ${TOKEN_EXCHANGE}`);
}

function subjectOf(form: URLSearchParams): { subjectToken: string; subjectTokenType: string } {
  const subjectToken = form.get('subject_token');
  const subjectTokenType = form.get('subject_token_type') ?? '';
  if (!subjectToken || subjectToken.length > MAX_TOKEN_CHARS)
    throw oauthError('invalid_request', 'subject_token is wanted');
  if (![ACCESS_TOKEN_TYPE, API_KEY_TYPE].includes(subjectTokenType))
    throw oauthError('invalid_request', `subject_token_type: use ${ACCESS_TOKEN_TYPE} or ${API_KEY_TYPE}`);
  if (form.has('actor_token'))
    throw oauthError('invalid_request', 'actor_token: the authenticated client is the actor');
  const wanted = form.get('requested_token_type');
  if (wanted !== null && wanted !== ACCESS_TOKEN_TYPE)
    throw oauthError('invalid_request', `requested_token_type: only ${ACCESS_TOKEN_TYPE} is issued`);
  return { subjectToken, subjectTokenType };
}
