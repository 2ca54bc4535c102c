import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import type { Claims } from '#libs/auth';
import { SigningKeys } from '../keys/signing-keys.js';

/** Injection token of the `iss` of all tokens. */
export const ISSUER = Symbol('Issuer');

/** Signs tokens with the current key. */
@Injectable()
export class TokenIssuer {
  private readonly jwt = new JwtService({});

  constructor(
    @Inject(SigningKeys) private readonly keys: SigningKeys,
    @Inject(ISSUER) private readonly issuer: string,
  ) {}

  /** @throws RetryableError 503 `keys-unavailable` until the keys were read */
  issue(claims: Claims, audience: string[], lifetimeSeconds: number): string {
    const { kid, privateKey } = this.keys.current();
    return this.jwt.sign(claims, {
      secret: privateKey as unknown as string,
      algorithm: 'RS256',
      keyid: kid,
      issuer: this.issuer,
      audience: audience.length === 1 ? audience[0] : audience,
      expiresIn: lifetimeSeconds,
      notBefore: 0,
      jwtid: randomUUID(),
    });
  }
}
