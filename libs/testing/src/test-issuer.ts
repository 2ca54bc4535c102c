import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Tokens, type Subject, type Validity } from '#libs/auth';
import type { Env } from '#libs/chassis';
import { TestSigner, type TokenClaims } from './test-signer.js';

const SECRET = 'the secret of every client of the tests';

/**
 * A stand-in for the identity service in tests of one service: publishes a key and issues to any client what it asks for. What the
 * identity service refuses is tested with the real one.
 */
export class TestIssuer {
  readonly signer: TestSigner;

  private constructor(
    readonly url: string,
    private readonly server: Server,
  ) {
    this.signer = new TestSigner(url);
    server.on('request', (request, response) => void this.answer(request, response));
  }

  static async start(): Promise<TestIssuer> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TestIssuer(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, server);
  }

  /** What a service under test reads. */
  env(): Env {
    return { IDENTITY_URL: this.url, BATON_TOKEN_ISSUER: this.url, BATON_CLIENT_SECRET: SECRET };
  }

  /** The tokens of a service that calls the one under test. */
  tokens(client: string): Tokens {
    return new Tokens({ identityUrl: this.url, clientId: client, clientSecret: SECRET });
  }

  /** Somebody for whom `client` acts. */
  subject(client: string, { tenant, userId }: Pick<Subject, 'tenant' | 'userId'>): Subject {
    const scopes = ['tasks:read', 'tasks:write'];
    const sub = userId ?? `tenant:${tenant}`;
    const user = userId ?? undefined;
    const token = this.signer.sign({ sub, user, tenant, aud: client, scope: scopes.join(' ') });
    return { tenant, userId, scopes, token };
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const json = (value: unknown) =>
      void response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
    if (request.method === 'GET') return json({ keys: [this.signer.publicJwk] });
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    const claims = claimsFor(clientOf(request), form);
    json({ access_token: this.signer.sign(claims), token_type: 'Bearer', expires_in: 300 });
  }
}

function clientOf({ headers }: IncomingMessage): string {
  const basic = (headers.authorization ?? '').slice('Basic '.length);
  return decodeURIComponent(Buffer.from(basic, 'base64').toString().split(':')[0]!);
}

function claimsFor(client: string, form: URLSearchParams): TokenClaims {
  const aud = form.getAll('audience');
  const subject = form.get('subject_token');
  if (subject === null) return { sub: client, tenant: 'system', aud, scope: 'tasks:read tasks:write admin' };
  const { sub, user, tenant, scope, act, auth_time, exp } = JSON.parse(
    Buffer.from(subject.split('.')[1]!, 'base64url').toString(),
  ) as TokenClaims & Validity;
  const since = auth_time ?? Math.floor(Math.min(Date.now() / 1000, exp));
  return { sub, user, tenant, scope, aud, act: { sub: client, act }, auth_time: since };
}
