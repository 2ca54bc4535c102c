import {
  Body,
  Controller,
  Get,
  Headers,
  HttpCode,
  Inject,
  Param,
  Post,
  Query,
  Res,
  UseGuards,
  type PipeTransform,
} from '@nestjs/common';
import {
  ApiAcceptedResponse,
  ApiBearerAuth,
  ApiDefaultResponse,
  ApiHeader,
  ApiOkResponse,
  ApiOperation,
  ApiSecurity,
  ApiTags,
} from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Caller, Scopes, type Principal } from '#libs/auth';
import { clientLeft, sendEvents, type ServerSentEvent } from '#libs/chassis';
import {
  deadlineMsOf,
  idempotencyKeyOf,
  isTerminal,
  lastEventIdOf,
  ListTasksDto,
  messageOf,
  PROBLEM_CONTENT,
  SubmitTaskDto,
  SUBMITTED_SCHEMA,
  TASK_PAGE_SCHEMA,
  TASK_VIEW_SCHEMA,
  parseTaskId,
  type AgentCard,
  type agentsV1,
  type TaskPage,
  type TaskView,
} from '#libs/contracts';
import { AgentClient, type OnBehalf } from './agent-client.js';
import { resolveAgent } from './agents.js';
import { Owners } from './owners.js';
import { RateLimitGuard } from './rate-limit.guard.js';

/** `POST /run` answers with the result if the task ends within this time. */
const RUN_WAIT_MS = 30_000;

class TaskId implements PipeTransform<string> {
  transform(value: string): string {
    return parseTaskId(value);
  }
}

type RequestHeaders = Record<string, string | undefined>;
type AgentState = ({ ready: true } & AgentCard) | { ready: false; id: string; cause: string };

/** The public door: the agents' API under `/v1`, as each agent has it. The gateway validates, finds the agent and asks it over gRPC. */
@ApiTags('v1')
@ApiDefaultResponse({ description: 'A problem (RFC 9457)', content: PROBLEM_CONTENT })
@ApiBearerAuth()
@ApiSecurity('api-key')
@UseGuards(RateLimitGuard)
@Controller('v1')
export class GatewayController {
  constructor(
    @Inject(AgentClient) private readonly agents: AgentClient,
    @Inject(Owners) private readonly owners: Owners,
  ) {}

  @Get('agents')
  @ApiOperation({ summary: 'The agents, what they do and whether they answer' })
  async list(@Caller() caller: Principal): Promise<{ agents: AgentState[] }> {
    const agents = this.agents.ids.map(async (id): Promise<AgentState> => {
      try {
        return { ready: true, ...(await this.agents.card(id, { caller })) };
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
  @ApiHeader({
    name: 'X-Deadline-Ms',
    required: false,
    description: 'Milliseconds in which the task has to end',
  })
  async run(
    @Param('agent') name: string,
    @Body() body: SubmitTaskDto,
    @Headers() headers: RequestHeaders,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TaskView> {
    const agent = resolveAgent(this.agents.ids, name);
    const by = { ...onBehalf(caller, headers), signal: clientLeft(reply) };
    const view = await this.agents.run(agent, taskRequest(body, headers), RUN_WAIT_MS, by);
    this.accepted(reply, view.task_id, agent);
    reply.status(isTerminal(view.status) ? 200 : 202);
    return view;
  }

  @Post('agents/:agent/tasks')
  @Scopes('tasks:write')
  @HttpCode(202)
  @ApiAcceptedResponse({ description: 'Accepted: it will be finished', schema: SUBMITTED_SCHEMA })
  @ApiOperation({ summary: 'Submit a task; 202 means that it will be finished' })
  @ApiHeader({ name: 'Idempotency-Key', required: false })
  @ApiHeader({
    name: 'X-Deadline-Ms',
    required: false,
    description: 'Milliseconds in which the task has to end',
  })
  async submit(
    @Param('agent') name: string,
    @Body() body: SubmitTaskDto,
    @Headers() headers: RequestHeaders,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ task_id: string; status: string }> {
    const agent = resolveAgent(this.agents.ids, name);
    const submitted = await this.agents.submit(agent, taskRequest(body, headers), onBehalf(caller, headers));
    this.accepted(reply, submitted.task_id, agent);
    return submitted;
  }

  @Get('agents/:agent/tasks')
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'A page', schema: TASK_PAGE_SCHEMA })
  @ApiOperation({ summary: "An agent's tasks, newest first" })
  tasks(
    @Param('agent') name: string,
    @Query() query: ListTasksDto,
    @Headers() headers: RequestHeaders,
    @Caller() caller: Principal,
  ): Promise<TaskPage> {
    return this.agents.list(resolveAgent(this.agents.ids, name), query, onBehalf(caller, headers));
  }

  @Get('tasks/:task_id')
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Status and result' })
  async get(
    @Param('task_id', TaskId) taskId: string,
    @Headers() headers: RequestHeaders,
    @Caller() caller: Principal,
  ): Promise<TaskView> {
    const by = onBehalf(caller, headers);
    return this.agents.get(await this.owners.ownerOf(taskId, by), taskId, by);
  }

  @Get('tasks/:task_id/events')
  @Scopes('tasks:read')
  @ApiOkResponse({
    description: 'The stream',
    content: { 'text/event-stream': { schema: { type: 'string' } } },
  })
  @ApiOperation({ summary: 'Server-sent events of the task' })
  @ApiHeader({ name: 'Last-Event-ID', required: false })
  async events(
    @Param('task_id', TaskId) taskId: string,
    @Headers() headers: RequestHeaders,
    @Caller() caller: Principal,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const after = lastEventIdOf(headers['last-event-id']);
    const by = { ...onBehalf(caller, headers), signal: clientLeft(reply) };
    const steps = await this.agents.steps(await this.owners.ownerOf(taskId, by), taskId, after, by);
    await sendEvents(reply, () => serverSentEvents(steps));
  }

  @Post('tasks/:task_id/cancel')
  @Scopes('tasks:write')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiAcceptedResponse({ description: 'Not ended yet', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Cancel; 200 when it is cancelled, 202 while its worker has not confirmed' })
  async cancel(
    @Param('task_id', TaskId) taskId: string,
    @Headers() headers: RequestHeaders,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TaskView> {
    const by = onBehalf(caller, headers);
    const view = await this.agents.cancel(await this.owners.ownerOf(taskId, by), taskId, by);
    reply.status(view.status === 'cancelled' ? 200 : 202);
    return view;
  }

  private accepted(reply: FastifyReply, taskId: string, agent: string): void {
    this.owners.remember(taskId, agent);
    reply.header('location', `/v1/tasks/${taskId}`);
  }
}

const onBehalf = (caller: Principal, headers: RequestHeaders): OnBehalf => ({
  caller,
  traceparent: headers['traceparent'],
});

function taskRequest(body: SubmitTaskDto, headers: RequestHeaders): agentsV1.TaskRequest {
  const { prompt, session_id, metadata = {}, max_steps, token_budget } = body;
  return {
    prompt: prompt.toWellFormed(),
    session_id,
    metadata: Object.fromEntries(
      Object.entries(metadata).map(([key, value]) => [key.toWellFormed(), value.toWellFormed()]),
    ),
    max_steps,
    token_budget,
    idempotency_key: idempotencyKeyOf(headers['idempotency-key']) ?? undefined,
    deadline_ms: deadlineMsOf(headers['x-deadline-ms']) ?? undefined,
  };
}

/** Names of the events by the types of the steps; transient ones have sequence 0. */
const EVENTS: Record<string, string> = {
  llm_call: 'model',
  tool_result: 'tools',
  finish: 'finish',
};
const TRANSIENT: Record<string, string> = {
  llm_call: 'model_started',
  tool_call: 'tool_started',
  delta: 'delta',
  retry: 'retry',
};

async function* serverSentEvents(steps: AsyncIterable<agentsV1.StepEvent>): AsyncGenerator<ServerSentEvent> {
  for await (const { type, sequence, entry_json: data } of steps)
    yield sequence > 0
      ? { id: sequence, event: EVENTS[type] ?? type, data }
      : { event: TRANSIENT[type] ?? type, data };
}
