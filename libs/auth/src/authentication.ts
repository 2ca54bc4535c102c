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
    const apiKey = this.apiKeys && apiKeyOf(header);
    const bearer = apiKey ? await this.apiKeys!.authorization(apiKey) : header('authorization');
    return this.verifier.verify(bearer, this.audience);
  }
}

/** The key of `Authorization: Bearer baton_…` or, where there is no such header, of `X-API-Key`. */
export function apiKeyOf(header: Header): string | undefined {
  const authorization = header('authorization');
  if (authorization === undefined) return header('x-api-key');
  return /^Bearer (baton_\S+)$/i.exec(authorization)?.[1];
}
