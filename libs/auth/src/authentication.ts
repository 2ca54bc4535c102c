import type { Principal } from './principal.js';
import type { ApiKeys } from './api-keys.js';
import type { TokenVerifier } from './token-verifier.js';

/** Reads one header of a request; names in lower case. */
export type Header = (name: string) => string | undefined;

/** Who a request is from: by its token, and where API keys are taken, by its key. */
export class Authentication {
  /** @param audience the name of this service */
  constructor(
    private readonly verifier: TokenVerifier,
    private readonly audience: string,
    private readonly apiKeys: ApiKeys | null,
  ) {}

  /** @throws TerminalError 401 `unauthenticated`; RetryableError 503 `identity-unavailable` */
  async authenticate(header: Header): Promise<Principal> {
    const authorization = header('authorization');
    const apiKey = this.apiKeys && apiKeyOf(authorization, header('x-api-key'));
    const bearer = apiKey ? await this.apiKeys!.authorization(apiKey) : authorization;
    return this.verifier.verify(bearer, this.audience);
  }
}

/** The key of `Authorization: Bearer baton_…` or `X-API-Key`. */
function apiKeyOf(authorization: string | undefined, apiKey: string | undefined): string | undefined {
  if (authorization === undefined) return apiKey;
  return /^Bearer (baton_\S+)$/i.exec(authorization)?.[1];
}
