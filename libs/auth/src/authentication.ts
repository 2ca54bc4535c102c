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

  /**
   * @param address of the client
   * @throws TerminalError 401 `unauthenticated`; RetryableError 503 `identity-unavailable`, 429 `rate-limited` after too many wrong API keys
   */
  async authenticate(header: Header, address: string): Promise<Principal> {
    const apiKey = this.apiKeys && apiKeyOf(header);
    const bearer = apiKey ? await this.apiKeys!.authorization(apiKey, address) : header('authorization');
    return this.verifier.verify(bearer, this.audience);
  }
}

/** The key of `Authorization: Bearer baton_…` or, where there is no such header, of `X-API-Key`. */
export function apiKeyOf(header: Header): string | undefined {
  const authorization = header('authorization');
  if (authorization === undefined) return header('x-api-key');
  return /^Bearer (baton_\S+)$/i.exec(authorization)?.[1];
}
