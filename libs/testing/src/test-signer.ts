import { createHash, generateKeyPairSync, randomUUID, sign, type KeyObject } from 'node:crypto';

export interface TokenClaims {
  sub?: string;
  tenant?: string;
  user?: string;
  act?: unknown;
  aud?: string | string[];
  scope?: string;
  [claim: string]: unknown;
}

const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);

/** Signs tokens as the identity service does, with a key that a test knows, so that it can sign wrong ones too. */
export class TestSigner {
  private readonly key: KeyObject;
  readonly publicJwk: Record<string, unknown> & { kid: string };
  /** PKCS#8, for `IDENTITY_SIGNING_KEY`. */
  readonly pem: string;

  constructor(readonly issuer: string) {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.key = privateKey;
    this.pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const { e, kty, n } = publicKey.export({ format: 'jwk' });
    // RFC 7638.
    const kid = createHash('sha256').update(JSON.stringify({ e, kty, n })).digest('base64url');
    this.publicJwk = { e, kty, n, kid, use: 'sig', alg: 'RS256' };
  }

  /** A token with the issuer's claims, valid for five minutes; `claims` and `header` override any of them, undefined leaves one out. */
  sign(claims: TokenClaims, header: object = {}): string {
    const head = encoded({ alg: 'RS256', typ: 'JWT', kid: this.publicJwk.kid, ...header });
    const body = encoded({
      iss: this.issuer,
      iat: now(),
      nbf: now(),
      exp: now() + 300,
      jti: randomUUID(),
      ...claims,
    });
    const signature = sign('RSA-SHA256', Buffer.from(`${head}.${body}`), this.key).toString('base64url');
    return `${head}.${body}.${signature}`;
  }
}
