import { Controller, HttpCode, Inject, Post, Req, Res } from '@nestjs/common';
import { ApiBasicAuth, ApiBody, ApiConsumes, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { API_KEY_TYPE, Public } from '#libs/auth';
import { ClientAuthentication } from '../clients/client-authentication.js';
import { Grants, type TokenAnswer } from './grants.js';
import { oauthError } from './oauth-error.js';
import { countTokenRequest, outcomeOf, type Grant } from './token-metrics.js';
import { readTokenRequest, type TokenRequest } from './token-request.js';

const text = { type: 'string' };
const FORM = {
  type: 'object',
  required: ['grant_type', 'audience'],
  properties: {
    grant_type: text,
    audience: { ...text, description: 'The service to call; with an API key it may be repeated' },
    scope: { ...text, description: 'Separated by spaces; default: all that may be had' },
    subject_token: text,
    subject_token_type: text,
    client_id: text,
    client_secret: text,
  },
};
const ANSWER = {
  type: 'object',
  properties: {
    access_token: text,
    token_type: text,
    expires_in: { type: 'integer' },
    scope: text,
    issued_token_type: text,
  },
};

/** The token endpoint of OAuth 2.0. */
@ApiTags('tokens')
@Controller('oauth')
export class TokenController {
  constructor(
    @Inject(ClientAuthentication) private readonly clients: ClientAuthentication,
    @Inject(Grants) private readonly grants: Grants,
  ) {}

  @Post('token')
  @Public()
  @HttpCode(200)
  @ApiOperation({ summary: 'A token for a call: client credentials (RFC 6749) or token exchange (RFC 8693)' })
  @ApiBasicAuth()
  @ApiConsumes('application/x-www-form-urlencoded')
  @ApiBody({ schema: FORM })
  @ApiOkResponse({
    description: 'The token; errors are RFC 6749 bodies: {error, error_description}',
    schema: ANSWER,
  })
  async token(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TokenAnswer> {
    reply.header('cache-control', 'no-store');
    const form = request.body as unknown;
    let grant: Grant = 'unknown';
    try {
      if (!(form instanceof URLSearchParams)) throw oauthError('invalid_request', 'A form body is wanted');
      const client = await this.clients.authenticate(
        request.headers.authorization,
        form,
        request.ip ?? 'unknown',
      );
      const wanted = readTokenRequest(form);
      grant = grantLabel(wanted);
      const answer =
        wanted.grant === 'client_credentials'
          ? this.grants.clientCredentials(client, wanted)
          : await this.grants.exchange(client, wanted);
      countTokenRequest(grant, 'issued');
      return answer;
    } catch (error) {
      countTokenRequest(grant, outcomeOf(error));
      throw error;
    }
  }
}

function grantLabel({ grant, subjectTokenType }: TokenRequest): Grant {
  return subjectTokenType === API_KEY_TYPE ? 'api_key' : grant;
}
