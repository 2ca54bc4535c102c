import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { BatonError } from '#libs/contracts';
import { unauthenticated } from './claims.js';
import { FailedAttempts } from './failed-attempts.js';
import { API_KEY_TYPE, TOKEN_EXCHANGE, TokenEndpoint, type Credentials } from './token-endpoint.js';

/** `baton_<id>_<secret>`: 64 and 256 random bits in hexadecimal. */
export const API_KEY = /^baton_([0-9a-f]{16})_([0-9a-f]{64})$/;

/** A revoked key is refused after at most this time. */
const REMEMBERED_MS = 30_000;
/** A wrong key is looked up again after this time. */
const REFUSED_MS = 5000;
/** A key that was right within this time is looked up again whatever else its address sends. */
const PROVEN_MS = 3_600_000;
const MAX_KEYS = 10_000;
/** Of one address: each may cost a look at identity's database. */
const FAILURES_PER_MINUTE = 30;

export interface ApiKeysOptions {
  /** Milliseconds for which what was found counts; 0: every call is looked up. Default 30 s. */
  rememberedMs?: number;
  close?: () => Promise<void>;
}

/** API keys at a door that takes them beside tokens. Keys are known by their digests: they do not lie about in memory. */
export class ApiKeys {
  private readonly failures = new FailedAttempts(FAILURES_PER_MINUTE);
  private readonly known = new LRUCache<string, string>({ max: MAX_KEYS });
  private readonly proven = new LRUCache<string, true>({ max: MAX_KEYS, ttl: PROVEN_MS });
  /** Apart from the right ones: nobody drives those out with wrong ones. */
  private readonly refused = new LRUCache<string, true>({ max: MAX_KEYS, ttl: REFUSED_MS });
  private readonly underWay = new Map<string, Promise<string>>();

  /** @param exchange the authorization header that stands for a key; throws a 401 for a wrong one */
  constructor(
    private readonly exchange: (apiKey: string) => Promise<string>,
    private readonly options: ApiKeysOptions = {},
  ) {}

  /** Exchanges keys at the identity service for tokens addressed to this service. */
  static at(credentials: Credentials): ApiKeys {
    const endpoint = new TokenEndpoint(credentials);
    const exchange = async (apiKey: string): Promise<string> => {
      const { accessToken } = await endpoint.request({
        grant_type: TOKEN_EXCHANGE,
        audience: credentials.clientId,
        subject_token: apiKey,
        subject_token_type: API_KEY_TYPE,
      });
      return `Bearer ${accessToken}`;
    };
    return new ApiKeys(exchange, { close: () => endpoint.close() });
  }

  /**
   * The authorization header that stands for a key.
   * @param address of the client, by which failures are limited before a key is looked up; keys that were right before are not held up by them
   * @throws TerminalError 401 `unauthenticated`: no such key, revoked or expired
   * @throws RetryableError 429 `rate-limited`: too many failures of this address; 503 `identity-unavailable`
   */
  async authorization(apiKey: string, address: string): Promise<string> {
    try {
      return await this.find(apiKey, address);
    } catch (error) {
      throw this.failures.told(error, address);
    }
  }

  async onApplicationShutdown(): Promise<void> {
    await this.options.close?.();
  }

  private async find(apiKey: string, address: string): Promise<string> {
    const digest = createHash('sha256').update(apiKey).digest('base64');
    const known = this.known.get(digest) ?? this.underWay.get(digest);
    if (known) return known;
    const takeBack = this.proven.has(digest) ? () => undefined : this.failures.begin(address);
    if (!API_KEY.test(apiKey) || this.refused.has(digest)) throw unauthenticated('The API key is not valid');
    const lookingUp = this.lookUp(apiKey, digest, takeBack).finally(() => this.underWay.delete(digest));
    this.underWay.set(digest, lookingUp);
    return lookingUp;
  }

  private async lookUp(apiKey: string, digest: string, takeBack: () => void): Promise<string> {
    try {
      const authorization = await this.exchange(apiKey);
      const { rememberedMs = REMEMBERED_MS } = this.options;
      if (rememberedMs > 0) this.known.set(digest, authorization, { ttl: rememberedMs });
      this.proven.set(digest, true);
      takeBack();
      return authorization;
    } catch (error) {
      if (error instanceof BatonError && error.status === 401) {
        this.refused.set(digest, true);
        this.proven.delete(digest);
      } else takeBack();
      throw error;
    }
  }
}
