import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { BatonError } from '#libs/contracts';
import { unauthenticated } from './claims.js';
import { API_KEY_TYPE, TOKEN_EXCHANGE, TokenEndpoint, type Credentials } from './token-endpoint.js';

/** `baton_<id>_<secret>`: 64 and 256 random bits in hexadecimal. */
export const API_KEY = /^baton_([0-9a-f]{16})_([0-9a-f]{64})$/;

/** A revoked key is refused after at most this time. */
const REMEMBERED_MS = 30_000;
/** A wrong key is looked up again after this time. */
const REFUSED_MS = 5000;

/** Exchanges API keys at the identity service for tokens addressed to this service. */
export class ApiKeys {
  private readonly endpoint: TokenEndpoint;
  /** By the key's digest: keys do not lie about in memory. */
  private readonly known = new LRUCache<string, Promise<string>>({ max: 10_000, ttl: REMEMBERED_MS });

  constructor(private readonly credentials: Credentials) {
    this.endpoint = new TokenEndpoint(credentials);
  }

  /**
   * The authorization header that stands for a key, for 30 s.
   * @throws TerminalError 401 `unauthenticated`: no such key, revoked or expired; RetryableError 503 `identity-unavailable`
   */
  async authorization(apiKey: string): Promise<string> {
    if (!API_KEY.test(apiKey)) throw unauthenticated('The API key is not valid');
    const digest = createHash('sha256').update(apiKey).digest('base64');
    let authorization = this.known.get(digest);
    if (!authorization) {
      authorization = this.exchange(apiKey);
      this.known.set(digest, authorization);
      authorization.catch((error: unknown) => {
        if (error instanceof BatonError && error.status === 401)
          this.known.set(digest, authorization!, { ttl: REFUSED_MS });
        else this.known.delete(digest);
      });
    }
    return authorization;
  }

  onApplicationShutdown(): Promise<void> {
    return this.endpoint.close();
  }

  private async exchange(apiKey: string): Promise<string> {
    const { accessToken } = await this.endpoint.request({
      grant_type: TOKEN_EXCHANGE,
      audience: this.credentials.clientId,
      subject_token: apiKey,
      subject_token_type: API_KEY_TYPE,
    });
    return `Bearer ${accessToken}`;
  }
}
