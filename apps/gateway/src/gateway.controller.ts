import { Controller, Get, Inject, Param, Post, Req, Res, UseGuards } from '@nestjs/common';
import {
  ApiAcceptedResponse,
  ApiBearerAuth,
  ApiBody,
  ApiDefaultResponse,
  ApiHeader,
  ApiOkResponse,
  ApiOperation,
  ApiQuery,
  ApiSecurity,
  ApiTags,
  type ApiBodyOptions,
} from '@nestjs/swagger';
import type { Request, Response } from 'express';
import { LRUCache } from 'lru-cache';
import { Caller, Scopes, type Principal } from '#libs/auth';
import {
  PROBLEM_CONTENT,
  SUBMITTED_SCHEMA,
  TASK_PAGE_SCHEMA,
  TASK_VIEW_SCHEMA,
  BatonError,
  messageOf,
  parseTaskId,
  taskNotFound,
  type AgentCard,
  type TaskView,
} from '#libs/contracts';
import { resolveAgent, type AgentUrls } from './agents.js';
import { Forwarder } from './forwarder.js';
import { RateLimitGuard } from './rate-limit.guard.js';

/** Injection token of the `AgentUrls`. */
export const AGENT_URLS = Symbol('AgentUrls');

/** Longer than an agent's `POST /run` waits. */
const ANSWER_MS = 40_000;
const SUBMIT_BODY: ApiBodyOptions = {
  schema: { type: 'object', required: ['prompt'], properties: { prompt: { type: 'string' } } },
};

type AgentState = ({ ready: true } & AgentCard) | { ready: false; id: string; cause: string };

/** The public door: the agents' API under `/v1`. Agents validate; the gateway finds the agent and passes the caller's identity on. */
@ApiTags('v1')
@ApiDefaultResponse({ description: 'A problem (RFC 9457)', content: PROBLEM_CONTENT })
@ApiBearerAuth()
@ApiSecurity('api-key')
@UseGuards(RateLimitGuard)
@Controller('v1')
export class GatewayController {
  /** Which agent has a task; found by asking when it is not remembered. */
  private readonly owners = new LRUCache<string, string>({ max: 50_000 });

  constructor(
    @Inject(AGENT_URLS) private readonly agents: AgentUrls,
    @Inject(Forwarder) private readonly forwarder: Forwarder,
  ) {}

  @Get('agents')
  @ApiOperation({ summary: 'The agents, what they do and whether they answer' })
  async list(@Caller() caller: Principal): Promise<{ agents: AgentState[] }> {
    const agents = [...this.agents].map(async ([id, url]): Promise<AgentState> => {
      try {
        return { ready: true, ...(await this.forwarder.get<AgentCard>({ id, url }, '/agent', caller)) };
      } catch (error) {
        return { ready: false, id, cause: messageOf(error) };
      }
    });
    return { agents: await Promise.all(agents) };
  }

  @Post('agents/:agent/run')
  @Scopes('tasks:write')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiAcceptedResponse({ description: 'Not ended yet', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Submit a task and wait up to 30 s for its result; then 202' })
  @ApiHeader({ name: 'Idempotency-Key', required: false })
  @ApiBody(SUBMIT_BODY)
  run(
    @Param('agent') agent: string,
    @Caller() caller: Principal,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    return this.toAgent(agent, '/run', caller, request, response);
  }

  @Post('agents/:agent/tasks')
  @Scopes('tasks:write')
  @ApiAcceptedResponse({ description: 'Accepted: it will be finished', schema: SUBMITTED_SCHEMA })
  @ApiOperation({ summary: 'Submit a task; 202 means that it will be finished' })
  @ApiHeader({ name: 'Idempotency-Key', required: false })
  @ApiBody(SUBMIT_BODY)
  submit(
    @Param('agent') agent: string,
    @Caller() caller: Principal,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    return this.toAgent(agent, '/tasks', caller, request, response);
  }

  @Get('agents/:agent/tasks')
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'A page', schema: TASK_PAGE_SCHEMA })
  @ApiQuery({ name: 'status', required: false })
  @ApiQuery({ name: 'session_id', required: false })
  @ApiQuery({ name: 'limit', required: false })
  @ApiQuery({ name: 'cursor', required: false })
  @ApiOperation({ summary: "An agent's tasks, newest first" })
  tasks(
    @Param('agent') agent: string,
    @Caller() caller: Principal,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    const query = new URL(request.url, 'http://gateway').search;
    return this.toAgent(agent, `/tasks${query}`, caller, request, response);
  }

  @Get('tasks/:task_id')
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Status and result' })
  get(
    @Param('task_id') id: string,
    @Caller() caller: Principal,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    return this.toOwner(id, '', caller, request, response);
  }

  @Get('tasks/:task_id/events')
  @Scopes('tasks:read')
  @ApiOkResponse({
    description: 'The stream',
    content: { 'text/event-stream': { schema: { type: 'string' } } },
  })
  @ApiOperation({ summary: 'Server-sent events of the task' })
  @ApiHeader({ name: 'Last-Event-ID', required: false })
  events(
    @Param('task_id') id: string,
    @Caller() caller: Principal,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    return this.toOwner(id, '/events', caller, request, response);
  }

  @Post('tasks/:task_id/cancel')
  @Scopes('tasks:write')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiAcceptedResponse({ description: 'Not ended yet', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Cancel; 200 when it is cancelled, 202 while its worker has not confirmed' })
  cancel(
    @Param('task_id') id: string,
    @Caller() caller: Principal,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    return this.toOwner(id, '/cancel', caller, request, response);
  }

  private async toAgent(
    name: string,
    path: string,
    caller: Principal,
    request: Request,
    response: Response,
  ): Promise<void> {
    const agent = resolveAgent(this.agents, name);
    await this.forwarder.forward(request, response, { agent, path, caller, timeoutMs: ANSWER_MS });
    const taskId = /^\/v1\/tasks\/(.+)$/.exec(String(response.getHeader('location') ?? ''))?.[1];
    if (taskId) this.owners.set(taskId, agent.id);
  }

  private async toOwner(
    id: string,
    action: string,
    caller: Principal,
    request: Request,
    response: Response,
  ): Promise<void> {
    const taskId = parseTaskId(id);
    const agent = resolveAgent(this.agents, await this.ownerOf(taskId, caller));
    await this.forwarder.forward(request, response, {
      agent,
      path: `/tasks/${taskId}${action}`,
      caller,
      timeoutMs: ANSWER_MS,
    });
  }

  /** @throws TerminalError `task-not-found` (404); the error of an agent that could not be asked when no other has the task */
  private async ownerOf(taskId: string, caller: Principal): Promise<string> {
    const remembered = this.owners.get(taskId);
    if (remembered) return remembered;
    const asked = await Promise.allSettled(
      [...this.agents].map(async ([id, url]) => {
        await this.forwarder.get<TaskView>({ id, url }, `/tasks/${taskId}`, caller);
        return id;
      }),
    );
    for (const answer of asked)
      if (answer.status === 'fulfilled') {
        this.owners.set(taskId, answer.value);
        return answer.value;
      }
    for (const answer of asked)
      if (
        answer.status === 'rejected' &&
        !(answer.reason instanceof BatonError && answer.reason.status === 404)
      )
        throw answer.reason;
    throw taskNotFound();
  }
}
