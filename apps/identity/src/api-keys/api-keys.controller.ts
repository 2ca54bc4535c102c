import { randomBytes } from 'node:crypto';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Query, Res } from '@nestjs/common';
import {
  ApiBearerAuth,
  ApiCreatedResponse,
  ApiDefaultResponse,
  ApiNoContentResponse,
  ApiOkResponse,
  ApiSecurity,
  ApiTags,
} from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Caller, hasScope, Scopes, type Principal } from '#libs/auth';
import { PROBLEM_CONTENT, TerminalError, validationError } from '#libs/contracts';
import { ClientAuthentication } from '../clients/client-authentication.js';
import { isOperator, SYSTEM_TENANT } from '../operator.js';
import { hashOf } from './api-key-exchange.js';
import { CreateApiKeyDto, ListApiKeysDto, type ApiKeyView } from './api-key.dto.js';
import { ApiKeysRepository } from './api-keys.repository.js';

/** Keys of users and tenants. An administrator has those of the own tenant in hand, the operator those of all. */
@ApiTags('api-keys')
@ApiBearerAuth()
@ApiSecurity('api-key')
@ApiDefaultResponse({ description: 'A problem (RFC 9457)', content: PROBLEM_CONTENT })
@Scopes('admin')
@Controller('api-keys')
export class ApiKeysController {
  constructor(
    @Inject(ApiKeysRepository) private readonly keys: ApiKeysRepository,
    @Inject(ClientAuthentication) private readonly clients: ClientAuthentication,
  ) {}

  @Post()
  @ApiCreatedResponse({ description: 'The key, under `key`, this one time' })
  async create(
    @Body() body: CreateApiKeyDto,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<ApiKeyView & { key: string }> {
    reply.header('cache-control', 'no-store');
    const tenant = body.tenant ?? caller.tenant;
    this.check(body, tenant, caller);
    const [id, secret] = [randomBytes(8).toString('hex'), randomBytes(32).toString('hex')];
    const view = await this.keys.add(
      {
        id,
        tenant,
        user: body.user ?? null,
        name: body.name ?? '',
        scopes: [...new Set(body.scopes)],
        secretHash: hashOf(secret),
        createdBy: caller.userId ?? caller.caller,
        expiresAt: body.expires_at ?? null,
      },
      isOperator(caller),
    );
    if (!view) throw new TerminalError('tenant-not-found', 'There is no such tenant', { status: 404 });
    return { ...view, key: `baton_${id}_${secret}` };
  }

  @Get()
  @ApiOkResponse({
    description: 'Keys without their secrets, newest first; next_cursor is null on the last page',
  })
  async list(
    @Query() query: ListApiKeysDto,
    @Caller() caller: Principal,
  ): Promise<{ keys: ApiKeyView[]; next_cursor: string | null }> {
    if (query.tenant !== undefined) requireTenant(query.tenant, caller);
    const tenant = query.tenant ?? (isOperator(caller) ? null : caller.tenant);
    const { keys, next } = await this.keys.page(tenant, query.cursor ?? null);
    return { keys, next_cursor: next };
  }

  @Delete(':id')
  @HttpCode(204)
  @ApiNoContentResponse({
    description: 'Revoked: no new token for it; doors that know it forget it within 30 s',
  })
  async revoke(@Param('id') id: string, @Caller() caller: Principal): Promise<void> {
    const known =
      /^[0-9a-f]{16}$/.test(id) && (await this.keys.revoke(id, isOperator(caller) ? null : caller.tenant));
    if (!known)
      throw new TerminalError(
        'api-key-not-found',
        'There is no such key; GET /api-keys (./baton keys list) tells which there are',
        { status: 404 },
      );
  }

  private check(body: CreateApiKeyDto, tenant: string, caller: Principal): void {
    requireTenant(tenant, caller);
    if (tenant === SYSTEM_TENANT)
      throw validationError([{ field: 'tenant', message: `${SYSTEM_TENANT} is the services' own` }]);
    if (body.user !== undefined && this.clients.isClient(body.user))
      throw validationError([{ field: 'user', message: 'this is the name of a service' }]);
    if (body.expires_at !== undefined && !(Date.parse(body.expires_at) > Date.now()))
      throw validationError([{ field: 'expires_at', message: 'expires_at must be in the future' }]);
    if (!body.scopes.every((scope) => hasScope(caller, scope)))
      throw new TerminalError('forbidden', 'Nobody gives more than they have', { status: 403 });
  }
}

function requireTenant(tenant: string, caller: Principal): void {
  if (tenant !== caller.tenant && !isOperator(caller))
    throw new TerminalError('forbidden', 'This is another tenant', { status: 403 });
}
