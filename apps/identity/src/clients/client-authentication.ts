import { createHash, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { RetryableError } from '#libs/contracts';
import { oauthError } from '../token/oauth-error.js';
import type { Client } from './client.js';

/** Injection token of the `Client`s. */
export const CLIENTS = Symbol('Clients');

/** Failed authentications of one address per minute. */
const FAILURES_PER_MINUTE = 30;

/** Knows the clients by their secrets: `client_secret_basic` and `client_secret_post` (RFC 6749, section 2.3.1). */
@Injectable()
export class ClientAuthentication {
  private readonly clients: Map<string, Client>;
  private readonly failures = new RateLimiterMemory({ points: FAILURES_PER_MINUTE, duration: 60 });

  constructor(@Inject(CLIENTS) clients: Client[]) {
    this.clients = new Map(clients.map((client) => [client.id, client]));
  }

  /** Whether a name is a service's, so that no person may have it. */
  isClient(name: string): boolean {
    return this.clients.has(name);
  }

  /**
   * @param address of the caller, by which failures are limited; a right secret is taken whatever failed before, so that nobody can
   *   lock a service out
   * @throws TerminalError `invalid_client` (401), `invalid_request` (400); RetryableError `rate-limited` (429)
   */
  async authenticate(
    authorization: string | undefined,
    form: URLSearchParams,
    address: string,
  ): Promise<Client> {
    const { id, secret } = credentialsOf(authorization, form);
    const client = this.clients.get(id);
    const given = createHash('sha256').update(secret).digest();
    if (client && timingSafeEqual(given, client.secretHash)) return client;
    await this.countFailure(address);
    throw oauthError('invalid_client', 'The client is not known, or its secret is wrong');
  }

  private async countFailure(address: string): Promise<void> {
    try {
      await this.failures.consume(address);
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      throw new RetryableError('rate-limited', 'Too many failed authentications', {
        status: 429,
        retryAfterMs: refused.msBeforeNext,
      });
    }
  }
}

function credentialsOf(
  authorization: string | undefined,
  form: URLSearchParams,
): { id: string; secret: string } {
  const [id, secret] = [form.get('client_id'), form.get('client_secret')];
  if (authorization === undefined) {
    if (id !== null && secret !== null) return { id, secret };
    throw oauthError('invalid_client', 'Authenticate with client id and secret');
  }
  if (secret !== null) throw oauthError('invalid_request', 'Authenticate in one way only');
  const basic = /^Basic ([A-Za-z0-9+/]+=*)$/i.exec(authorization)?.[1];
  const pair = /^([^:]*):(.*)$/s.exec(Buffer.from(basic ?? '', 'base64').toString());
  if (!pair) throw oauthError('invalid_client', 'Authenticate with client id and secret');
  const credentials = { id: formDecoded(pair[1]!), secret: formDecoded(pair[2]!) };
  if (id !== null && id !== credentials.id)
    throw oauthError('invalid_request', 'client_id is another than in the Authorization header');
  return credentials;
}

function formDecoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw oauthError('invalid_client', 'The Authorization header is not form-encoded');
  }
}
