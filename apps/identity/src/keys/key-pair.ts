import { createPrivateKey, createPublicKey, generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { messageOf, TerminalError } from '#libs/contracts';

/** A new key as it goes into the database. */
export interface KeyPair {
  /** Its JWK thumbprint (RFC 7638). */
  kid: string;
  publicJwk: JWK;
  /** PKCS#8. */
  pem: string;
}

const MODULUS_BITS = 2048;

export async function generatePair(): Promise<KeyPair> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS });
  return pairOf(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
}

/** @throws TerminalError `configuration` when `pem` is no RSA key of at least 2048 bits */
export async function pairOf(pem: string): Promise<KeyPair> {
  const publicKey = createPublicKey(readPrivateKey(pem));
  const { kty, n, e } = publicKey.export({ format: 'jwk' });
  const jwk = { kty, n, e } as JWK;
  const kid = await calculateJwkThumbprint(jwk);
  return { kid, publicJwk: { ...jwk, kid, use: 'sig', alg: 'RS256' }, pem };
}

function readPrivateKey(pem: string) {
  try {
    const key = createPrivateKey(pem);
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    if (key.asymmetricKeyType === 'rsa' && bits >= MODULUS_BITS) return key;
    throw new Error(`${key.asymmetricKeyType} of ${bits} bits`);
  } catch (error) {
    throw new TerminalError(
      'configuration',
      `Wrong configuration: IDENTITY_SIGNING_KEY: a PKCS#8 PEM of an RSA key of ${MODULUS_BITS} bits or more is wanted (${messageOf(error)})`,
    );
  }
}
