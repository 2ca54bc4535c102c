import { randomBytes } from 'node:crypto';
import { Pool } from 'pg';
import { ACCESS_TOKEN_TYPE, API_KEY_TYPE, TOKEN_EXCHANGE } from '#libs/auth';
import { startService, type Env, type RunningService } from '#libs/chassis';
import { TestSigner } from '#libs/testing';
import identity from './service.js';

export const secretOf = (client: string): string => `${client} `.padEnd(40, 'secret');

const CLIENTS = [
  { id: 'gateway' },
  { id: 'orchestrator' },
  { id: 'agent-search' },
  { id: 'agent-email' },
  { id: 'tool-registry' },
  { id: 'cli', token_seconds: 3600 },
  { id: 'reader', scopes: ['tasks:read'], audiences: ['agent-search'] },
].map((client) => ({ ...client, secret: secretOf(client.id) }));

export interface TokenAnswer {
  status: number;
  headers: Headers;
  body: Record<string, unknown> & { access_token: string; error?: string };
}

/** An identity service with a database of its own, and a key that the test knows. */
export class IdentityFixture {
  readonly signer = new TestSigner('http://identity.test');
  private readonly services: RunningService[] = [];

  private constructor(
    readonly databaseUrl: string,
    readonly sql: Pool,
    private readonly server: Pool,
  ) {}

  static async open(): Promise<IdentityFixture> {
    const serverUrl = process.env['TEST_DATABASE_URL'];
    if (!serverUrl) throw new Error('TEST_DATABASE_URL is not set');
    const name = `identity_${randomBytes(6).toString('hex')}`;
    const server = new Pool({ connectionString: serverUrl, max: 1 });
    await server.query(`create database ${name}`);
    const databaseUrl = new URL(name, serverUrl).href;
    const sql = new Pool({ connectionString: databaseUrl, max: 2 });
    // Dropping the database ends connections that are closing anyway.
    for (const pool of [server, sql]) pool.on('error', () => undefined);
    return new IdentityFixture(databaseUrl, sql, server);
  }

  /** One more instance. */
  async start(env: Env = {}): Promise<RunningService> {
    const service = await startService(identity, {
      PORT: '0',
      HOST: '127.0.0.1',
      LOG_LEVEL: 'silent',
      DATABASE_URL: this.databaseUrl,
      BATON_TOKEN_ISSUER: this.signer.issuer,
      IDENTITY_CLIENTS: JSON.stringify(CLIENTS),
      IDENTITY_KEY_SECRET: 'a secret of the tests with 32 chars',
      IDENTITY_SIGNING_KEY: this.signer.pem,
      ...env,
    });
    this.services.push(service);
    return service;
  }

  async stop(): Promise<void> {
    for (const service of this.services) await service.stop();
    await this.sql.end();
    await this.server.query(`drop database ${new URL(this.databaseUrl).pathname.slice(1)} with (force)`);
    await this.server.end();
  }
}

export async function post(
  url: string,
  form: string | Record<string, string>,
  headers: Record<string, string> = {},
): Promise<TokenAnswer> {
  const response = await fetch(`${url}/oauth/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body: typeof form === 'string' ? form : new URLSearchParams(form).toString(),
  });
  const body = (await response.json()) as TokenAnswer['body'];
  return { status: response.status, headers: response.headers, body };
}

export const basic = (client: string, secret = secretOf(client)): { authorization: string } => ({
  authorization: `Basic ${Buffer.from(`${encodeURIComponent(client)}:${encodeURIComponent(secret)}`).toString('base64')}`,
});

export const clientCredentials = (url: string, client: string, audience: string, scope?: string) =>
  post(
    url,
    { grant_type: 'client_credentials', audience, ...(scope === undefined ? {} : { scope }) },
    basic(client),
  );

export const exchange = (
  url: string,
  client: string,
  subject_token: string,
  more: Record<string, string> = {},
) => {
  const isKey = subject_token.startsWith('baton_');
  const subject_token_type = isKey ? API_KEY_TYPE : ACCESS_TOKEN_TYPE;
  const form = { grant_type: TOKEN_EXCHANGE, audience: 'tool-registry', subject_token, subject_token_type };
  return post(url, { ...form, ...more }, basic(client));
};

/** The claims of a token, unverified. */
export function claimsOf(token: string): Record<string, unknown> & { exp: number; iat: number } {
  return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as ReturnType<typeof claimsOf>;
}

/** The header of a token, unverified. */
export function kidOf(token: string): string {
  return (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid;
}
