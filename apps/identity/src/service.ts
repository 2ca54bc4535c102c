import { Module, type DynamicModule } from '@nestjs/common';
import { ApiKeys, AuthModule, unauthenticated } from '#libs/auth';
import type { Env, ServiceDefinition } from '#libs/chassis';
import { DatabaseModule } from '#libs/database';
import { ApiKeyExchange, claimsOf } from './api-keys/api-key-exchange.js';
import { ApiKeysController } from './api-keys/api-keys.controller.js';
import { ApiKeysRepository } from './api-keys/api-keys.repository.js';
import { TOKEN_SECONDS } from './clients/client.js';
import { ClientAuthentication, CLIENTS } from './clients/client-authentication.js';
import { readConfig, type IdentityConfig } from './config.js';
import { DiscoveryController } from './discovery.controller.js';
import { keepSecondsOf } from './keys/key-lifetime.js';
import { KeysController } from './keys/keys.controller.js';
import { KeysRepository } from './keys/keys.repository.js';
import { KEY_OPTIONS, SigningKeys, type KeyOptions } from './keys/signing-keys.js';
import { Identity1764000000000 } from './migrations/1764000000000-identity.js';
import { DELEGATION_SECONDS, Grants } from './token/grants.js';
import { ISSUER, TokenIssuer } from './token/issuer.js';
import { oauthErrorBody, TOKEN_PATH } from './token/oauth-error.js';
import { TokenController } from './token/token.controller.js';

const NAME = 'identity';

/** What `AuthModule` needs of this service. */
@Module({})
class KeysModule {}

export default function identity(env: Env): ServiceDefinition {
  const config = readConfig(env);
  const keys = keysModule(config);
  return {
    name: NAME,
    description: 'Issues tokens, publishes the keys that verify them, keeps API keys',
    maxBodyBytes: 65_536,
    formPaths: [TOKEN_PATH],
    trustedProxies: config.trustedProxies,
    errorBody: oauthErrorBody,
    imports: [
      DatabaseModule.forRoot({
        url: config.databaseUrl,
        schema: 'identity',
        migrations: [Identity1764000000000],
        poolMax: 4,
      }),
      AuthModule.forIssuer({
        service: NAME,
        issuer: config.issuer,
        keys: SigningKeys,
        imports: [keys],
        allowedCallers: null,
      }),
      keys,
    ],
    controllers: [TokenController, DiscoveryController, KeysController, ApiKeysController],
    providers: [
      { provide: CLIENTS, useValue: config.clients },
      { provide: DELEGATION_SECONDS, useValue: config.delegationSeconds },
      ClientAuthentication,
      Grants,
    ],
  };
}

function keysModule(config: IdentityConfig): DynamicModule {
  const options: KeyOptions = {
    secret: config.keySecret,
    signingKey: config.signingKey,
    rotationHours: config.rotationHours,
    keepSeconds: keepSecondsOf(config),
  };
  return {
    module: KeysModule,
    providers: [
      { provide: KEY_OPTIONS, useValue: options },
      { provide: ISSUER, useValue: config.issuer },
      KeysRepository,
      SigningKeys,
      TokenIssuer,
      ApiKeysRepository,
      ApiKeyExchange,
      { provide: ApiKeys, inject: [ApiKeyExchange, TokenIssuer], useFactory: ownApiKeys },
    ],
    exports: [ISSUER, SigningKeys, TokenIssuer, ApiKeysRepository, ApiKeyExchange, ApiKeys],
  };
}

/** API keys at this service's own door: a token of them for it is not to be had elsewhere, and a revoked one opens nothing from then on. */
function ownApiKeys(keys: ApiKeyExchange, issuer: TokenIssuer): ApiKeys {
  const exchange = async (apiKey: string): Promise<string> => {
    const key = await keys.find(apiKey);
    if (!key) throw unauthenticated('The API key is not valid');
    return `Bearer ${issuer.issue(claimsOf(key, key.scopes.join(' ')), [NAME], TOKEN_SECONDS)}`;
  };
  return new ApiKeys(exchange, { rememberedMs: 0 });
}
