import { Counter, register } from 'prom-client';
import { isOAuthError, type OAuthErrorCode } from './oauth-error.js';

export type Grant = 'client_credentials' | 'token_exchange' | 'api_key' | 'unknown';
export type Outcome = 'issued' | OAuthErrorCode | 'rate_limited' | 'unavailable' | 'error';

const NAME = 'identity_token_requests_total';

// The registry of metrics is shared by all services of a process: what is there already is used.
const requests =
  (register.getSingleMetric(NAME) as Counter | undefined) ??
  new Counter({ name: NAME, help: 'Requests for tokens by outcome', labelNames: ['grant', 'outcome'] });

export function countTokenRequest(grant: Grant, outcome: Outcome): void {
  requests.inc({ grant, outcome });
}

export function outcomeOf(error: unknown): Outcome {
  const {
    code = '',
    status = 500,
    retryable = false,
  } = error as {
    code?: string;
    status?: number;
    retryable?: boolean;
  };
  if (isOAuthError(code)) return code;
  if (status === 429) return 'rate_limited';
  return retryable ? 'unavailable' : 'error';
}
