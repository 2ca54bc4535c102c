import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { TerminalError } from '#libs/contracts';

const IV_BYTES = 12;
const TAG_BYTES = 16;
const VERSION = 1;

/** Encrypts private keys for the database: AES-256-GCM, a key of its own for each by HKDF-SHA256 (RFC 5869), bound to its `kid`. */
export class KeyVault {
  /** @param secret `IDENTITY_KEY_SECRET` */
  constructor(private readonly secret: string) {}

  /** Version, initialisation vector, tag, ciphertext. */
  seal(kid: string, pem: string): Buffer {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.keyOf(kid), iv).setAAD(Buffer.from(kid));
    const text = Buffer.concat([cipher.update(pem, 'utf8'), cipher.final()]);
    return Buffer.concat([Buffer.of(VERSION), iv, cipher.getAuthTag(), text]);
  }

  /** @throws TerminalError `key-sealed-otherwise` when the secret is another one or the bytes were changed */
  open(kid: string, sealed: Buffer): string {
    const iv = sealed.subarray(1, 1 + IV_BYTES);
    const tag = sealed.subarray(1 + IV_BYTES, 1 + IV_BYTES + TAG_BYTES);
    try {
      if (sealed[0] !== VERSION) throw new Error(`version ${sealed[0]}`);
      const decipher = createDecipheriv('aes-256-gcm', this.keyOf(kid), iv, { authTagLength: TAG_BYTES })
        .setAAD(Buffer.from(kid))
        .setAuthTag(tag);
      const text = decipher.update(sealed.subarray(1 + IV_BYTES + TAG_BYTES));
      return Buffer.concat([text, decipher.final()]).toString('utf8');
    } catch (error) {
      throw new TerminalError(
        'key-sealed-otherwise',
        `IDENTITY_KEY_SECRET does not open the signing key ${kid} in the database`,
        { cause: error },
      );
    }
  }

  private keyOf(kid: string): Buffer {
    return Buffer.from(hkdfSync('sha256', this.secret, kid, 'baton signing key', 32));
  }
}
