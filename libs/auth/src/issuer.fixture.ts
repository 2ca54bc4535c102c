import { createHash, generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SignJWT, type JWK } from 'jose';

export const ISSUER = 'http://issuer.test';

export interface SigningKey {
  kid: string;
  privateKey: KeyObject;
  publicKey: KeyObject;
  jwk: JWK;
}

export function newKey(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = publicKey.export({ format: 'jwk' }) as JWK;
  const kid = createHash('sha256').update(jwk.n!).digest('base64url');
  return { kid, privateKey, publicKey, jwk: { ...jwk, kid, alg: 'RS256', use: 'sig' } };
}

const seconds = () => Math.floor(Date.now() / 1000);

/** `Bearer` and a token for `a-service`; `claims` override its own. */
export async function bearer(key: SigningKey, claims: Record<string, unknown> = {}): Promise<string> {
  const all = {
    iss: ISSUER,
    aud: 'a-service',
    sub: 'ada',
    user: 'ada',
    tenant: 'acme',
    scope: 'tasks:read tasks:write',
    iat: seconds(),
    nbf: seconds(),
    exp: seconds() + 300,
    // Without it, two tokens of one second are the same.
    jti: randomUUID(),
    ...claims,
  };
  const token = await new SignJWT(all)
    .setProtectedHeader({ alg: 'RS256', kid: key.kid })
    .sign(key.privateKey);
  return `Bearer ${token}`;
}

/** An HTTP server for one test: answers with what `handle` says, and counts. */
export class FakeServer {
  requests: Array<{ path: string; form: URLSearchParams; headers: IncomingMessage['headers'] }> = [];
  handle: (response: ServerResponse, form: URLSearchParams, path: string) => unknown = (response) =>
    response.writeHead(500).end();

  private constructor(private readonly server: Server) {
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const form = new URLSearchParams(Buffer.concat(chunks).toString());
        const path = request.url ?? '';
        this.requests.push({ path, form, headers: request.headers });
        this.handle(response, form, path);
      });
    });
  }

  static async start(): Promise<FakeServer> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FakeServer(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

export const json = (response: ServerResponse, value: unknown, status = 200) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
