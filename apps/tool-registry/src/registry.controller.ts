import { Body, Controller, Get, Headers, HttpCode, Inject, Param, Post, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiBody, ApiCreatedResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { AllowCallers, Caller, type Principal } from '#libs/auth';
import { clientLeft, OpaqueFieldsPipe } from '#libs/chassis';
import {
  TerminalError,
  type InvokeRequest,
  type InvokeResponse,
  type ListedTool,
  type ToolDefinition,
} from '#libs/contracts';
import { ToolAcl } from './acl.js';
import { Catalogue } from './catalogue/catalogue.js';
import type { RegisteredTool } from './catalogue/registered-tool.js';
import { ToolRegistration } from './catalogue/registration.js';
import { ToolHealthWatch } from './catalogue/tool-health.js';
import { ToolDefinitionDto } from './catalogue/tool-definition.dto.js';
import { readCallHeaders } from './invocation/call-headers.js';
import { Invocations } from './invocation/invocations.js';
import { InvokeRequestDto } from './invocation/invoke.dto.js';

@ApiTags('tools')
@ApiBearerAuth()
@Controller('tools')
export class RegistryController {
  constructor(
    @Inject(ToolRegistration) private readonly registration: ToolRegistration,
    @Inject(Catalogue) private readonly catalogue: Catalogue,
    @Inject(ToolHealthWatch) private readonly health: ToolHealthWatch,
    @Inject(ToolAcl) private readonly acl: ToolAcl,
    @Inject(Invocations) private readonly invocations: Invocations,
  ) {}

  /** Publishes a tool's version. The calling service owns the name from then on. */
  @Post()
  @AllowCallers('tools-*')
  @ApiBody({ type: ToolDefinitionDto })
  @ApiCreatedResponse({ description: 'Published; 200 when it was already' })
  async register(
    @Body(new OpaqueFieldsPipe(ToolDefinitionDto, ['parameters', 'returns'])) definition: ToolDefinition,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ name: string; version: string }> {
    const result = await this.registration.register(caller.caller, { ...definition });
    reply.status(result === 'added' ? 201 : 200);
    return { name: definition.name, version: definition.version };
  }

  @Get()
  @ApiOkResponse({
    description:
      'The newest version of each tool that the caller may call, or owns, and whether its service answers',
  })
  async list(@Caller() caller: Principal): Promise<{ tools: ListedTool[] }> {
    const tools = await this.catalogue.all();
    return { tools: tools.filter((tool) => this.maySee(caller, tool)).map((tool) => this.listed(tool)) };
  }

  @Get(':name')
  @ApiOkResponse({ description: 'The newest version of a tool, and which others there are' })
  async get(
    @Param('name') name: string,
    @Caller() caller: Principal,
  ): Promise<ListedTool & { versions: string[] }> {
    const tool = await this.catalogue.require(name);
    if (!this.maySee(caller, tool))
      throw new TerminalError('forbidden', `${caller.caller} may not call ${name}`, { status: 403 });
    return { ...this.listed(tool), versions: this.catalogue.versionsOf(name) };
  }

  /** Calls a tool. A tool's failure is an outcome, answered with 200. */
  @Post(':name/invoke')
  @HttpCode(200)
  @ApiBody({ type: InvokeRequestDto })
  @ApiOkResponse({ description: 'The outcome' })
  async invoke(
    @Param('name') name: string,
    @Body(new OpaqueFieldsPipe(InvokeRequestDto, ['arguments'])) body: InvokeRequest,
    @Headers() headers: Record<string, string | undefined>,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<InvokeResponse> {
    requireOwnName(caller, headers['x-agent-id']);
    const answer = await this.invocations.invoke({
      ...readCallHeaders(headers),
      caller,
      name,
      version: body.version ?? undefined,
      arguments: body.arguments ?? null,
      signal: clientLeft(reply),
    });
    reply.headers(answer.headers);
    return answer.body;
  }

  private listed({ definition, owner }: RegisteredTool): ListedTool {
    return { ...definition, service: owner, health: this.health.of(definition.health_url) };
  }

  private maySee({ caller }: Principal, { definition, owner }: RegisteredTool): boolean {
    return owner === caller || this.acl.mayCall(caller, definition.name);
  }
}

/** Who calls is known from the token; a header that says something else is a mistake or worse. */
function requireOwnName({ caller }: Principal, agentId: string | undefined): void {
  if (agentId !== undefined && agentId !== caller)
    throw new TerminalError('forbidden', 'X-Agent-Id names another agent than the token', { status: 403 });
}
