import { createPublicKey, type KeyObject } from 'node:crypto';
import { createRemoteJWKSet, type FlattenedJWSInput, type JWTHeaderParameters } from 'jose';
import { messageOf, RetryableError } from '#libs/contracts';
import { unauthenticated } from './claims.js';

/** Where a verifier finds the issuer's public keys. */
export interface IssuerKeys {
  /**
   * The RS256 key of this id.
   * @throws TerminalError `unauthenticated` when the issuer has no such key; RetryableError `identity-unavailable` when that cannot be known
   */
  find(kid: string): Promise<KeyObject>;
  /** Resolves when keys are known. @throws as `find` */
  ready(): Promise<void>;
}

/** An unknown key id makes the keys be read again, but not more often than this. */
const COOLDOWN_MS = 1000;
/** Keys that the issuer has withdrawn are forgotten after this time. */
const RELOAD_MS = 300_000;
const TIMEOUT_MS = 2000;

/**
 * The keys that `apps/identity` publishes (RFC 7517), remembered. They stay in use while identity is away; a key id that is not
 * among them is looked up at once.
 */
export class PublishedKeys implements IssuerKeys {
  private readonly jwks: ReturnType<typeof createRemoteJWKSet>;
  private readonly found = new Map<string, KeyObject>();
  private readonly reloading: NodeJS.Timeout;
  private failure?: { at: number; error: RetryableError };

  /** @param identityUrl base URL of the identity service */
  constructor(private readonly identityUrl: string) {
    const url = new URL(`${identityUrl.replace(/\/+$/, '')}/.well-known/jwks.json`);
    this.jwks = createRemoteJWKSet(url, {
      cooldownDuration: COOLDOWN_MS,
      cacheMaxAge: Infinity,
      timeoutDuration: TIMEOUT_MS,
    });
    this.reloading = setInterval(() => void this.reload().catch(() => undefined), RELOAD_MS).unref();
  }

  async find(kid: string): Promise<KeyObject> {
    const known = this.found.get(kid);
    if (known) return known;
    await this.lookUp(kid);
    const jwk = this.jwks.jwks()?.keys.find((key) => key.kid === kid);
    if (!jwk) throw unauthenticated('The token is not valid: its key is not known');
    const key = createPublicKey({ key: jwk as Record<string, unknown>, format: 'jwk' });
    this.found.set(kid, key);
    return key;
  }

  async ready(): Promise<void> {
    if (!this.jwks.jwks()) await this.reload();
  }

  onApplicationShutdown(): void {
    clearInterval(this.reloading);
  }

  /** Lets `jose` decide whether the key set has to be read again. */
  private async lookUp(kid: string): Promise<void> {
    if (this.failure && Date.now() - this.failure.at < COOLDOWN_MS) throw this.failure.error;
    try {
      await this.jwks({ alg: 'RS256', kid } as JWTHeaderParameters, {} as FlattenedJWSInput);
      this.failure = undefined;
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_JWKS_NO_MATCHING_KEY') throw this.failed(error);
    }
  }

  private async reload(): Promise<void> {
    try {
      await this.jwks.reload();
      this.failure = undefined;
      const published = new Set(this.jwks.jwks()?.keys.map(({ kid }) => kid));
      for (const kid of this.found.keys()) if (!published.has(kid)) this.found.delete(kid);
    } catch (error) {
      throw this.failed(error);
    }
  }

  private failed(error: unknown): RetryableError {
    const cause = (error as { cause?: unknown }).cause ?? error;
    const away = new RetryableError(
      'identity-unavailable',
      `The keys of ${this.identityUrl} cannot be read: ${messageOf(cause)}`,
      { retryAfterMs: 1000, cause },
    );
    this.failure = { at: Date.now(), error: away };
    return away;
  }
}
