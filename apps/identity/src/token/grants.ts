import { Inject, Injectable } from '@nestjs/common';
import { decodeJwt } from 'jose';
import {
  ACCESS_TOKEN_TYPE,
  API_KEY_TYPE,
  matchesAny,
  MAX_ACTORS,
  TokenVerifier,
  type Actor,
  type Claims,
  type Scope,
  type Validity,
} from '#libs/auth';
import { BatonError } from '#libs/contracts';
import { ApiKeyExchange, claimsOf } from '../api-keys/api-key-exchange.js';
import { TOKEN_SECONDS, type Client } from '../clients/client.js';
import { TokenIssuer } from './issuer.js';
import { oauthError } from './oauth-error.js';
import type { TokenRequest } from './token-request.js';

/** Injection token: seconds, see `IdentityConfig`. */
export const DELEGATION_SECONDS = Symbol('DelegationSeconds');

/** RFC 6749, section 5.1. */
export interface TokenAnswer {
  access_token: string;
  issued_token_type?: string;
  token_type: 'Bearer';
  expires_in: number;
  scope: string;
}

/** What each grant gives to a client that has authenticated. */
@Injectable()
export class Grants {
  constructor(
    @Inject(TokenIssuer) private readonly issuer: TokenIssuer,
    @Inject(TokenVerifier) private readonly verifier: TokenVerifier,
    @Inject(ApiKeyExchange) private readonly apiKeys: ApiKeyExchange,
    @Inject(DELEGATION_SECONDS) private readonly delegationSeconds: number,
  ) {}

  /** A token of the service itself. @throws TerminalError `invalid_target`, `invalid_scope` */
  clientCredentials(client: Client, request: TokenRequest): TokenAnswer {
    requireOne(request.audience);
    requireCallable(client, request.audience);
    const scope = narrowed(client.scopes, request.scopes);
    const claims = { sub: client.id, tenant: 'system', scope };
    return this.answer(claims, request.audience, TOKEN_SECONDS);
  }

  /**
   * The subject's token with the client as its actor (RFC 8693, delegation), or the own token of a person whose API key it is.
   * @throws TerminalError `invalid_grant`, `invalid_target`, `invalid_scope`, `invalid_request`
   */
  async exchange(client: Client, request: TokenRequest): Promise<TokenAnswer> {
    const answer =
      request.subjectTokenType === API_KEY_TYPE
        ? await this.fromApiKey(client, request)
        : await this.onBehalf(client, request);
    return { ...answer, issued_token_type: ACCESS_TOKEN_TYPE };
  }

  private async onBehalf(client: Client, request: TokenRequest): Promise<TokenAnswer> {
    requireOne(request.audience);
    requireCallable(client, request.audience);
    const subject = await this.subjectOf(client, request.subjectToken!);
    const { sub, tenant, user, act, scope } = subject;
    if (depthOf(act) >= MAX_ACTORS)
      throw oauthError('invalid_request', `The work came through ${MAX_ACTORS} services already`);
    const granted = (scope ?? '').split(' ').filter(Boolean);
    const carried = granted.filter((one) => client.scopes.includes(one as Scope));
    const claims: Claims = {
      sub,
      tenant,
      ...(user === undefined ? {} : { user }),
      act: { sub: client.id, ...(act ? { act } : {}) },
      auth_time: Math.floor(delegatedAt(subject)),
      scope: narrowed(carried, request.scopes),
    };
    return this.answer(claims, request.audience, TOKEN_SECONDS);
  }

  /**
   * The claims of a token that was issued to this client. It may have expired: a task outlives the token with which it came. It is of
   * use to this client alone, and only up to the age for which work may be delegated.
   */
  private async subjectOf(client: Client, token: string): Promise<Claims & Validity> {
    try {
      const claims = decodeJwt<Claims & Validity>(token);
      const now = Date.now() / 1000;
      await this.verifier.verify(`Bearer ${token}`, client.id, new Date(Math.min(now, claims.exp) * 1000));
      if (now - delegatedAt(claims) > this.delegationSeconds)
        throw oauthError('invalid_grant', 'The subject token is too old to act with');
      return claims;
    } catch (error) {
      if (error instanceof BatonError && error.status !== 401) throw error;
      throw oauthError('invalid_grant', 'The subject token is not valid, or was not issued to this client');
    }
  }

  private async fromApiKey(client: Client, request: TokenRequest): Promise<TokenAnswer> {
    // A door takes the key for itself; whom it calls next is an exchange of its own.
    requireCallable({ ...client, audiences: [...client.audiences, client.id] }, request.audience);
    const key = await this.apiKeys.find(request.subjectToken!);
    if (!key) throw oauthError('invalid_grant', 'The API key is not valid');
    const carried = key.scopes.filter((one) => client.scopes.includes(one));
    const scope = narrowed(carried, request.scopes);
    const left = key.expiresInSeconds ?? client.tokenSeconds;
    return this.answer(
      claimsOf(key, scope),
      request.audience,
      Math.max(1, Math.min(client.tokenSeconds, left)),
    );
  }

  private answer(claims: Claims, audience: string[], seconds: number): TokenAnswer {
    return {
      access_token: this.issuer.issue(claims, audience, seconds),
      token_type: 'Bearer',
      expires_in: seconds,
      scope: claims.scope ?? '',
    };
  }
}

/** Whom a service calls could pass a token for several on as the service; people's own tokens open what the person chose. */
function requireOne(audience: string[]): void {
  if (audience.length > 1) throw oauthError('invalid_request', 'audience: the token of a service is for one');
}

function requireCallable({ id, audiences }: Client, audience: string[]): void {
  const refused = audience.filter((name) => !matchesAny(name, audiences));
  if (refused.length > 0) throw oauthError('invalid_target', `${id} may not call ${refused.join(', ')}`);
}

/** @param requested null asks for all that may be had */
function narrowed(granted: readonly string[], requested: string[] | null): string {
  const scopes = requested === null ? granted : granted.filter((scope) => requested.includes(scope));
  if (requested !== null && requested.length > 0 && scopes.length === 0)
    throw oauthError('invalid_scope', 'None of the requested scopes may be granted');
  return scopes.join(' ');
}

/** When the subject's own token last counted, in seconds since the epoch. A delegated one says so; tokens from before this claim existed do not. */
function delegatedAt({ auth_time, act, iat, exp }: Claims & Validity): number {
  if (act) return auth_time ?? iat;
  return Math.min(Date.now() / 1000, exp);
}

function depthOf(actor: Actor | undefined): number {
  let depth = 0;
  for (let one = actor; one; one = one.act) depth += 1;
  return depth;
}
