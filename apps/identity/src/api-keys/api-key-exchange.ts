import { createHash, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { API_KEY } from '#libs/auth';
import { LOGGER } from '#libs/chassis';
import { messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { oauthError } from '../token/oauth-error.js';
import { ApiKeysRepository, type StoredApiKey } from './api-keys.repository.js';

/** Looks up whose key a key is. */
@Injectable()
export class ApiKeyExchange {
  constructor(
    @Inject(ApiKeysRepository) private readonly keys: ApiKeysRepository,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** @throws TerminalError `invalid_grant`: no such key, revoked or expired; RetryableError without Postgres */
  async find(apiKey: string): Promise<StoredApiKey> {
    const [, id, secret] = API_KEY.exec(apiKey) ?? [];
    const key = id === undefined ? null : await this.keys.find(id);
    const isSecret = key && timingSafeEqual(hashOf(secret!), key.secretHash);
    if (!isSecret || !key.usable) throw oauthError('invalid_grant', 'The API key is not valid');
    this.keys
      .used(id!)
      .catch((error: unknown) => this.logger.warn({ err: messageOf(error) }, 'use of a key not noted'));
    return key;
  }
}

/** SHA-256: the secret has 256 random bits, which no dictionary holds. */
export const hashOf = (secret: string): Buffer => createHash('sha256').update(secret).digest();
