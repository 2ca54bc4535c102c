import { Controller, Get, Inject, Res } from '@nestjs/common';
import { ApiOkResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { JWK } from 'jose';
import { Public, SCOPES, TOKEN_EXCHANGE } from '#libs/auth';
import { SigningKeys } from './keys/signing-keys.js';
import { ISSUER } from './token/issuer.js';
import { TOKEN_PATH } from './token/oauth-error.js';

/** Seconds for which a cache in between may keep the keys. The next key is published long before it signs. */
const MAX_AGE = 60;

@ApiTags('discovery')
@Public()
@Controller('.well-known')
export class DiscoveryController {
  constructor(
    @Inject(SigningKeys) private readonly keys: SigningKeys,
    @Inject(ISSUER) private readonly issuer: string,
  ) {}

  @Get('jwks.json')
  @ApiOkResponse({
    description: 'The public keys (RFC 7517): the current, the next, and those whose tokens may still come',
  })
  jwks(@Res({ passthrough: true }) reply: FastifyReply): { keys: JWK[] } {
    const keys = this.keys.published();
    reply.header('cache-control', `public, max-age=${MAX_AGE}`);
    return { keys };
  }

  @Get(['openid-configuration', 'oauth-authorization-server'])
  @ApiOkResponse({ description: 'Metadata of the issuer (OpenID Connect Discovery, RFC 8414)' })
  metadata(): object {
    const base = this.issuer.replace(/\/+$/, '');
    return {
      issuer: this.issuer,
      token_endpoint: `${base}${TOKEN_PATH}`,
      jwks_uri: `${base}/.well-known/jwks.json`,
      grant_types_supported: ['client_credentials', TOKEN_EXCHANGE],
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
      scopes_supported: SCOPES,
      response_types_supported: [],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
    };
  }
}
