import { Body, Controller, Get, Headers, HttpCode, Inject, Param, Post, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiBody, ApiOkResponse, ApiProperty, ApiTags } from '@nestjs/swagger';
import { Allow, IsString } from 'class-validator';
import type { FastifyReply } from 'fastify';
import { Caller, type Principal } from '#libs/auth';
import { clientLeft, LOGGER, OpaqueFieldsPipe } from '#libs/chassis';
import { TerminalError, type ToolOutcome, type ToolServiceRequest } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { runTool } from './run-tool.js';
import type { Tool } from './tool.js';

/** Injection token of the tools of a service. */
export const TOOLS = Symbol('Tools');

class ToolServiceRequestDto implements ToolServiceRequest {
  @ApiProperty() @IsString() tool: string;
  @ApiProperty() @IsString() version: string;
  @ApiProperty({ type: Object }) @Allow() params: unknown;
}

/** The door through which the registry calls a service's tools. */
@ApiTags('tools')
@ApiBearerAuth()
@Controller('tools')
export class ToolsController {
  private readonly byVersion: Map<string, Tool>;

  constructor(
    @Inject(TOOLS) private readonly tools: Tool[],
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.byVersion = new Map(tools.map((tool) => [`${tool.name}@${tool.version}`, tool]));
  }

  @Get()
  @ApiOkResponse({ description: 'The tools that this service serves' })
  list(): { tools: Array<Pick<Tool, 'name' | 'version' | 'description' | 'effect'>> } {
    return {
      tools: this.tools.map(({ name, version, description, effect }) => ({
        name,
        version,
        description,
        effect,
      })),
    };
  }

  @Post(':name/invoke')
  @HttpCode(200)
  @ApiBody({ type: ToolServiceRequestDto })
  @ApiOkResponse({ description: 'The outcome; a failure is an outcome too' })
  async invoke(
    @Param('name') name: string,
    @Body(new OpaqueFieldsPipe(ToolServiceRequestDto, ['params'])) body: ToolServiceRequest,
    @Headers() headers: Record<string, string | undefined>,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<ToolOutcome> {
    const tool = this.byVersion.get(`${name}@${body.version}`);
    if (!tool || body.tool !== name)
      throw new TerminalError('tool-not-found', `${name}@${body.version} is not served here`, {
        status: 404,
      });
    const context = {
      tenant: caller.tenant,
      userId: caller.userId,
      // The registry acts for an agent, which its token names.
      agentId: caller.actors[1] ?? caller.caller,
      idempotencyKey: headers['idempotency-key'] ?? null,
      requestId: headers['x-request-id'] ?? crypto.randomUUID(),
      signal: clientLeft(reply),
    };
    const left = Number(headers['x-deadline-ms']);
    const timeoutMs = left >= 1 ? Math.min(left, tool.timeoutMs) : tool.timeoutMs;
    return runTool(tool, body.params, context, timeoutMs, this.logger);
  }
}
