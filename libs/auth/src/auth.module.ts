import { Module, type DynamicModule, type InjectionToken, type Provider } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { Readiness } from '#libs/chassis';
import { ApiKeys } from './api-keys.js';
import type { AuthConfig } from './auth.config.js';
import { Authentication } from './authentication.js';
import { PublishedKeys, type IssuerKeys } from './issuer-keys.js';
import { GUARD_OPTIONS, TokenGuard, type GuardOptions } from './token.guard.js';
import { TokenVerifier } from './token-verifier.js';
import { Tokens } from './tokens.js';

interface AuthOptions extends GuardOptions {
  config: AuthConfig;
  /** API keys are taken beside tokens, as `Authorization: Bearer baton_…` or `X-API-Key`. Default false. */
  apiKeys?: boolean;
}

interface IssuerOptions extends GuardOptions {
  issuer: string;
  /** Provider of the keys (`IssuerKeys`), of `imports`, which also provide `ApiKeys`. */
  keys: InjectionToken;
  imports: NonNullable<DynamicModule['imports']>;
}

/** Guards every route of a service and gives it `Tokens` for its own calls and `TokenVerifier` for messages. */
@Module({})
export class AuthModule {
  static forRoot({ service, allowedCallers, config, apiKeys = false }: AuthOptions): DynamicModule {
    const credentials = {
      identityUrl: config.IDENTITY_URL,
      clientId: service,
      clientSecret: config.BATON_CLIENT_SECRET,
    };
    return {
      module: AuthModule,
      global: true,
      providers: [
        { provide: PublishedKeys, inject: [Readiness], useFactory: publishedKeys(config.IDENTITY_URL) },
        { provide: Tokens, useFactory: () => new Tokens(credentials) },
        { provide: ApiKeys, useFactory: () => (apiKeys ? ApiKeys.at(credentials) : null) },
        ...guarding({ service, allowedCallers }, PublishedKeys, config.BATON_TOKEN_ISSUER),
      ],
      exports: [Tokens, TokenVerifier],
    };
  }

  /** For the service that issues the tokens: it verifies with its own keys, looks API keys up itself, and calls nobody. */
  static forIssuer({ service, allowedCallers, issuer, keys, imports }: IssuerOptions): DynamicModule {
    return {
      module: AuthModule,
      global: true,
      imports,
      providers: guarding({ service, allowedCallers }, keys, issuer),
      exports: [TokenVerifier],
    };
  }
}

function guarding(options: GuardOptions, keys: InjectionToken, issuer: string): Provider[] {
  return [
    { provide: GUARD_OPTIONS, useValue: options },
    {
      provide: TokenVerifier,
      inject: [keys],
      useFactory: (issuerKeys: IssuerKeys) => new TokenVerifier(issuerKeys, issuer),
    },
    {
      provide: Authentication,
      inject: [TokenVerifier, ApiKeys],
      useFactory: (verifier: TokenVerifier, apiKeys: ApiKeys | null) =>
        new Authentication(verifier, options.service, apiKeys),
    },
    { provide: APP_GUARD, useClass: TokenGuard },
  ];
}

function publishedKeys(identityUrl: string) {
  return (readiness: Readiness): PublishedKeys => {
    const keys = new PublishedKeys(identityUrl);
    readiness.add({
      name: 'identity',
      check: () => keys.ready(),
      fix: 'start the identity service, or correct IDENTITY_URL',
    });
    return keys;
  };
}
