import { createHash, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { API_KEY, tenantSubject, type Claims } from '#libs/auth';
import { LOGGER } from '#libs/chassis';
import { messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { ApiKeysRepository, type StoredApiKey } from './api-keys.repository.js';

/** Looks up whose key a key is. */
@Injectable()
export class ApiKeyExchange {
  constructor(
    @Inject(ApiKeysRepository) private readonly keys: ApiKeysRepository,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Null: no such key, revoked or expired. @throws RetryableError without Postgres */
  async find(apiKey: string): Promise<StoredApiKey | null> {
    const [, id, secret] = API_KEY.exec(apiKey) ?? [];
    const key = id === undefined ? null : await this.keys.find(id);
    const isSecret = key && timingSafeEqual(hashOf(secret!), key.secretHash);
    if (!isSecret || !key.usable) return null;
    this.keys
      .used(id!)
      .catch((error: unknown) => this.logger.warn({ err: messageOf(error) }, 'use of a key not noted'));
    return key;
  }
}

/** The claims of the own token of the user or tenant whose key it is. */
export function claimsOf({ tenant, user }: StoredApiKey, scope: string): Claims {
  if (user === null) return { sub: tenantSubject(tenant), tenant, scope };
  return { sub: user, user, tenant, scope };
}

/** SHA-256: the secret has 256 random bits, which no dictionary holds. */
export const hashOf = (secret: string): Buffer => createHash('sha256').update(secret).digest();
