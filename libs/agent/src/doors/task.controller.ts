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
  type PipeTransform,
} from '@nestjs/common';
import {
  ApiAcceptedResponse,
  ApiBearerAuth,
  ApiDefaultResponse,
  ApiHeader,
  ApiOkResponse,
  ApiOperation,
  ApiTags,
} from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import {
  deadlineMsOf,
  idempotencyKeyOf,
  isTerminal,
  lastEventIdOf,
  ListTasksDto,
  PROBLEM_CONTENT,
  SubmitTaskDto,
  SUBMITTED_SCHEMA,
  TASK_PAGE_SCHEMA,
  TASK_VIEW_SCHEMA,
  parseTaskId,
  type AgentCard,
  type AgentTask,
  type TaskPage,
  type TaskView,
} from '#libs/contracts';
import { Caller, Scopes, type Principal } from '#libs/auth';
import { clientLeft, sendEvents, type ServerSentEvent } from '#libs/chassis';
import { AGENT, type Agent } from '../agent.js';
import { Canceller } from '../canceller.js';
import { TaskFeed } from '../feed.js';
import { Intake } from '../intake.js';
import { agentTaskOf } from './agent-task.js';
import { serverSentEvent } from './step-events.js';
import { TaskViews } from './task-views.js';

/** `POST /run` answers with the result if the task ends within this time. */
const RUN_WAIT_MS = 30_000;

class TaskId implements PipeTransform<string> {
  transform(value: string): string {
    return parseTaskId(value);
  }
}

/** The REST door: translates to an `AgentTask` and back, nothing more. */
@ApiTags('tasks')
@ApiDefaultResponse({ description: 'A problem (RFC 9457)', content: PROBLEM_CONTENT })
@ApiBearerAuth()
@Controller()
export class TaskController {
  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(Intake) private readonly intake: Intake,
    @Inject(TaskViews) private readonly views: TaskViews,
    @Inject(TaskFeed) private readonly feed: TaskFeed,
    @Inject(Canceller) private readonly canceller: Canceller,
  ) {}

  @Get('agent')
  @ApiOperation({ summary: 'What this agent is and which model answers' })
  card(): AgentCard {
    return this.views.card();
  }

  @Post('run')
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
    @Body() body: SubmitTaskDto,
    @Headers() headers: Record<string, string | undefined>,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TaskView> {
    const { taskId, created } = await this.intake.accept(this.toTask(body, headers, caller));
    reply.header('location', `/tasks/${taskId}`);
    const ended = await this.feed.waitForEnd(taskId, RUN_WAIT_MS, clientLeft(reply), created);
    reply.status(ended ? 200 : 202);
    return this.views.find(taskId, caller);
  }

  @Post('tasks')
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
    @Body() body: SubmitTaskDto,
    @Headers() headers: Record<string, string | undefined>,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ task_id: string; status: string }> {
    const { taskId, status } = await this.intake.accept(this.toTask(body, headers, caller));
    reply.header('location', `/tasks/${taskId}`);
    return { task_id: taskId, status };
  }

  @Get('tasks')
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'A page', schema: TASK_PAGE_SCHEMA })
  @ApiOperation({ summary: 'Tasks, newest first' })
  list(@Query() query: ListTasksDto, @Caller() caller: Principal): Promise<TaskPage> {
    return this.views.list(query, caller);
  }

  @Get('tasks/:task_id')
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Status and result' })
  get(@Param('task_id', TaskId) taskId: string, @Caller() caller: Principal): Promise<TaskView> {
    return this.views.find(taskId, caller);
  }

  @Get('tasks/:task_id/events')
  @Scopes('tasks:read')
  @ApiOkResponse({
    description: 'The stream',
    content: { 'text/event-stream': { schema: { type: 'string' } } },
  })
  @ApiOperation({
    summary: 'Server-sent events: every journal entry (id = its sequence), then live entries and deltas',
  })
  @ApiHeader({ name: 'Last-Event-ID', required: false })
  async events(
    @Param('task_id', TaskId) taskId: string,
    @Headers('last-event-id') lastEventId: string | undefined,
    @Caller() caller: Principal,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const after = lastEventIdOf(lastEventId);
    const { status } = await this.views.find(taskId, caller);
    await sendEvents(reply, (signal) => this.eventsOf(taskId, after, isTerminal(status), signal));
  }

  @Post('tasks/:task_id/cancel')
  @Scopes('tasks:write')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiAcceptedResponse({ description: 'Not ended yet', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Cancel; 200 when it is cancelled, 202 while its worker has not confirmed' })
  async cancel(
    @Param('task_id', TaskId) taskId: string,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TaskView> {
    const view = await this.canceller.cancel(taskId, this.views.scopeOf(caller));
    reply.status(view.status === 'cancelled' ? 200 : 202);
    return view;
  }

  private async *eventsOf(...watched: Parameters<TaskFeed['watch']>): AsyncGenerator<ServerSentEvent> {
    for await (const item of this.feed.watch(...watched)) yield serverSentEvent(item);
  }

  private toTask(
    body: SubmitTaskDto,
    headers: Record<string, string | undefined>,
    caller: Principal,
  ): AgentTask {
    return agentTaskOf(body, caller, this.agent.definition, {
      idempotencyKey: idempotencyKeyOf(headers['idempotency-key']),
      timeoutMs: deadlineMsOf(headers['x-deadline-ms']),
      traceparent: headers['traceparent'] ?? null,
    });
  }
}
