import { LRUCache } from 'lru-cache';
import { unauthenticated } from './claims.js';
import { ExchangeKeys } from './exchange-key.js';
import type { Subject } from './principal.js';
import {
  ACCESS_TOKEN_TYPE,
  TOKEN_EXCHANGE,
  TokenEndpoint,
  type Credentials,
  type IssuedToken,
} from './token-endpoint.js';

/** A token is not used for a call that might arrive after its end. */
const SPARE_SECONDS = 60;

/** Gets the tokens of a service's outgoing calls from the identity service, and remembers them. One instance per service. */
export class Tokens {
  private readonly endpoint: TokenEndpoint;
  /** By what decides about the token (`ExchangeKeys`): what differs in user, actors, scopes or age of the delegation is not mixed up. */
  private readonly issued = new LRUCache<string, string>({ max: 10_000 });
  private readonly underWay = new Map<string, Promise<string>>();
  private readonly keys = new ExchangeKeys();

  constructor(credentials: Credentials) {
    this.endpoint = new TokenEndpoint(credentials);
  }

  /**
   * The `authorization` header for a call of `audience`: as the service itself (tenant `system`), or on behalf of `subject`, whose
   * token is exchanged (RFC 8693).
   * @throws RetryableError 503 `identity-unavailable`
   * @throws TerminalError 401 `unauthenticated`: the subject has no token, or identity does not take it; 403 `forbidden`
   */
  async authorization(audience: string, subject?: Subject): Promise<string> {
    if (subject?.token === null) throw unauthenticated('The work has no token of its user to act with');
    const key = subject ? this.keys.of(audience, subject.token) : audience;
    const known = this.issued.get(key);
    if (known) return known;
    let fetching = this.underWay.get(key);
    if (!fetching) {
      fetching = this.fetch(key, audience, subject).finally(() => this.underWay.delete(key));
      this.underWay.set(key, fetching);
    }
    return fetching;
  }

  async onApplicationShutdown(): Promise<void> {
    await this.endpoint.close();
  }

  private async fetch(key: string, audience: string, subject?: Subject): Promise<string> {
    const { accessToken, expiresIn } = await this.request(audience, subject?.token ?? null);
    const header = `Bearer ${accessToken}`;
    const ttl = (expiresIn - SPARE_SECONDS) * 1000;
    if (ttl > 0) this.issued.set(key, header, { ttl });
    return header;
  }

  private request(audience: string, subjectToken: string | null): Promise<IssuedToken> {
    if (subjectToken === null) return this.endpoint.request({ grant_type: 'client_credentials', audience });
    return this.endpoint.request({
      grant_type: TOKEN_EXCHANGE,
      audience,
      subject_token: subjectToken,
      subject_token_type: ACCESS_TOKEN_TYPE,
    });
  }
}
