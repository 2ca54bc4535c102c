import { API_KEY_TYPE, TOKEN_EXCHANGE, TokenEndpoint, Tokens } from '#libs/auth';
import { HttpClient } from '#libs/chassis';
import { clientSecretOf } from '#libs/devstack';
import type { HostRecord, Stack } from '../stack/stack.js';
import { urlOf } from '../stack/stack.js';

/** A key as the identity service shows it. */
export interface ApiKey {
  id: string;
  tenant: string;
  user: string | null;
  name: string;
  scopes: string[];
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
}

export interface NewApiKey {
  tenant: string;
  user?: string;
  name?: string;
  scopes: string[];
  expires_at?: string;
}

/** The identity service, as the stack's operator asks it: the client `cli`. */
export class Identity {
  private readonly http = new HttpClient({ connections: 1 });
  private readonly url: string;
  private readonly tokens: Tokens;
  private readonly endpoint: TokenEndpoint;

  constructor(stack: Stack, host: Pick<HostRecord, 'services'>) {
    this.url = urlOf(host, 'identity');
    const credentials = {
      identityUrl: this.url,
      clientId: 'cli',
      clientSecret: clientSecretOf(stack.secret, 'cli'),
    };
    this.tokens = new Tokens(credentials);
    this.endpoint = new TokenEndpoint(credentials);
  }

  /** The operator's own token for a service. @throws as `Tokens.authorization` */
  async operatorToken(audience: string): Promise<string> {
    return (await this.tokens.authorization(audience)).slice('Bearer '.length);
  }

  /** The token of whose key it is. @throws TerminalError `unauthenticated` when the key does not count */
  async tokenFor(apiKey: string, audience: string[]): Promise<string> {
    const parameters = new URLSearchParams({
      grant_type: TOKEN_EXCHANGE,
      subject_token: apiKey,
      subject_token_type: API_KEY_TYPE,
    });
    for (const name of audience) parameters.append('audience', name);
    return (await this.endpoint.request(parameters)).accessToken;
  }

  /** The answer holds the key itself, this one time. */
  async createKey(key: NewApiKey): Promise<ApiKey & { key: string }> {
    const request = { method: 'POST' as const, headers: await this.headers(), body: key };
    return (await this.http.json<ApiKey & { key: string }>(`${this.url}/api-keys`, request)).body;
  }

  async keys(tenant: string | undefined): Promise<ApiKey[]> {
    const keys: ApiKey[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const query = new URLSearchParams({ ...(tenant ? { tenant } : {}), ...(cursor ? { cursor } : {}) });
      const { body } = await this.http.json<{ keys: ApiKey[]; next_cursor: string | null }>(
        `${this.url}/api-keys?${query.toString()}`,
        { headers: await this.headers() },
      );
      keys.push(...body.keys);
      cursor = body.next_cursor;
    }
    return keys;
  }

  async revokeKey(id: string): Promise<void> {
    const headers = await this.headers();
    await this.http.json(`${this.url}/api-keys/${encodeURIComponent(id)}`, { method: 'DELETE', headers });
  }

  async close(): Promise<void> {
    await Promise.all([this.http.close(), this.tokens.onApplicationShutdown(), this.endpoint.close()]);
  }

  private async headers(): Promise<Record<string, string>> {
    return { authorization: await this.tokens.authorization('identity') };
  }
}

/** Does `work` with the identity service of a running host. */
export async function withIdentity<T>(
  stack: Stack,
  host: Pick<HostRecord, 'services'>,
  work: (identity: Identity) => Promise<T>,
): Promise<T> {
  const identity = new Identity(stack, host);
  try {
    return await work(identity);
  } finally {
    await identity.close();
  }
}
