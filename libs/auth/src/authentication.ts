import { BatonError } from '#libs/contracts';
import { FailedAttempts } from './failed-attempts.js';
import type { Principal } from './principal.js';
import type { ApiKeys } from './api-keys.js';
import type { TokenVerifier } from './token-verifier.js';

/** Reads one header of a request; names in lower case. */
export type Header = (name: string) => string | undefined;

/** Of one address: no token can be guessed, but each costs a signature's check. */
const FAILURES_PER_MINUTE = 300;

/** Who a request is from: by its token, and at the public doors, where API keys are taken, by its key. There failures are limited. */
export class Authentication {
  private readonly failures = new FailedAttempts(FAILURES_PER_MINUTE);

  /** @param audience the name of this service */
  constructor(
    private readonly verifier: TokenVerifier,
    private readonly audience: string,
    private readonly apiKeys: ApiKeys | null,
  ) {}

  /**
   * @param address of the client
   * @throws TerminalError 401 `unauthenticated`; RetryableError 503 `identity-unavailable`, 429 `rate-limited` after too many failures
   */
  async authenticate(header: Header, address: string): Promise<Principal> {
    const bearer = header('authorization');
    if (!this.apiKeys) return this.verifier.verify(bearer, this.audience);
    const apiKey = apiKeyOf(header);
    if (apiKey === undefined) return this.limited(bearer, address);
    return this.verifier.verify(await this.apiKeys.authorization(apiKey, address), this.audience);
  }

  /** Tokens that were right before are not held up by what else their address sends, and none counts before it was found wrong. */
  private async limited(bearer: string | undefined, address: string): Promise<Principal> {
    const isKnown = this.verifier.isKnown(bearer, this.audience);
    if (!isKnown) this.failures.assertMore(address);
    try {
      return await this.verifier.verify(bearer, this.audience);
    } catch (error) {
      // What could not be looked up did not fail.
      if (!isKnown && error instanceof BatonError && error.status === 401) this.failures.count(address);
      throw this.failures.told(error, address);
    }
  }
}

/** The key of `Authorization: Bearer baton_…` or, where there is no such header, of `X-API-Key`. */
export function apiKeyOf(header: Header): string | undefined {
  const authorization = header('authorization');
  if (authorization === undefined) return header('x-api-key');
  return /^Bearer (baton_\S+)$/i.exec(authorization)?.[1];
}
