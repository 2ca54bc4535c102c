export { API_KEY, ApiKeys } from './api-keys.js';
export { apiKeyOf } from './authentication.js';
export { AUTH_CONFIG, clientSecret, DEFAULT_ISSUER, type AuthConfig } from './auth.config.js';
export { AuthModule } from './auth.module.js';
export { MAX_ACTORS, unauthenticated, type Actor, type Claims, type Validity } from './claims.js';
export type { IssuerKeys } from './issuer-keys.js';
export {
  hasScope,
  isAllowed,
  isService,
  matchesAny,
  onlyUserOf,
  SCOPES,
  tenantSubject,
  type Principal,
  type Scope,
  type Subject,
} from './principal.js';
export { ACCESS_TOKEN_TYPE, API_KEY_TYPE, TOKEN_EXCHANGE, TokenEndpoint } from './token-endpoint.js';
export { TokenVerifier } from './token-verifier.js';
export { AllowCallers, Caller, callerOf, Public, Scopes } from './token.guard.js';
export { Tokens } from './tokens.js';
