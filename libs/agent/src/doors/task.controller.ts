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
import type { Response } from 'express';
import {
  isTerminal,
  parseTaskId,
  ListTasksDto,
  PROBLEM_CONTENT,
  SubmitTaskDto,
  SUBMITTED_SCHEMA,
  TASK_LIMITS,
  TASK_PAGE_SCHEMA,
  TASK_VIEW_SCHEMA,
  validationError,
  type AgentCard,
  type AgentTask,
  type TaskPage,
  type TaskView,
} from '#libs/contracts';
import { Caller, onlyUserOf, Scopes, type Principal } from '#libs/auth';
import { clientLeft } from '#libs/chassis';
import { LLM, type Llm } from '#libs/llm';
import { AGENT, type Agent } from '../agent.js';
import { Canceller } from '../canceller.js';
import { shortName } from '../definition.js';
import { TaskFeed } from '../feed.js';
import { Intake } from '../intake.js';
import { TaskRepository, type Scope } from '../store/task.repository.js';
import { agentTaskOf } from './agent-task.js';
import { sendEvents } from './events.js';

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
    @Inject(TaskRepository) private readonly tasks: TaskRepository,
    @Inject(TaskFeed) private readonly feed: TaskFeed,
    @Inject(Canceller) private readonly canceller: Canceller,
    @Inject(LLM) private readonly llm: Llm,
  ) {}

  @Get('agent')
  @ApiOperation({ summary: 'What this agent is and which model answers' })
  card(): AgentCard {
    const { id, description, tools, limits } = this.agent.definition;
    const { model, scripted } = this.llm.state();
    return {
      id,
      name: shortName(id),
      description,
      tools,
      limits: { max_steps: limits.maxSteps, token_budget: limits.tokenBudget },
      model,
      scripted,
    };
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
    @Res({ passthrough: true }) response: Response,
  ): Promise<TaskView> {
    const { taskId, created } = await this.intake.accept(this.toTask(body, headers, caller));
    response.location(`/tasks/${taskId}`);
    const ended = await this.feed.waitForEnd(taskId, RUN_WAIT_MS, clientLeft(response), created);
    response.status(ended ? 200 : 202);
    return this.tasks.require(taskId, this.scope(caller));
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
    @Res({ passthrough: true }) response: Response,
  ): Promise<{ task_id: string; status: string }> {
    const { taskId, status } = await this.intake.accept(this.toTask(body, headers, caller));
    response.location(`/tasks/${taskId}`);
    return { task_id: taskId, status };
  }

  @Get('tasks')
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'A page', schema: TASK_PAGE_SCHEMA })
  @ApiOperation({ summary: 'Tasks, newest first' })
  async list(@Query() query: ListTasksDto, @Caller() caller: Principal): Promise<TaskPage> {
    const { tasks, next } = await this.tasks.list(this.scope(caller), {
      status: query.status,
      sessionId: query.session_id,
      before: query.cursor,
      limit: query.limit ?? 20,
    });
    return { tasks, next_cursor: next };
  }

  @Get('tasks/:task_id')
  @Scopes('tasks:read')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Status and result' })
  get(@Param('task_id', TaskId) taskId: string, @Caller() caller: Principal): Promise<TaskView> {
    return this.tasks.require(taskId, this.scope(caller));
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
    @Res() response: Response,
  ): Promise<void> {
    const after = Number(lastEventId ?? 0);
    if (!Number.isInteger(after) || after < 0 || after > 1_000_000)
      throw validationError([
        { field: 'Last-Event-ID', message: 'Last-Event-ID must be the id of an event' },
      ]);
    const { status } = await this.tasks.require(taskId, this.scope(caller));
    await sendEvents(response, (signal) => this.feed.watch(taskId, after, isTerminal(status), signal));
  }

  @Post('tasks/:task_id/cancel')
  @Scopes('tasks:write')
  @ApiOkResponse({ description: 'The result', schema: TASK_VIEW_SCHEMA })
  @ApiAcceptedResponse({ description: 'Not ended yet', schema: TASK_VIEW_SCHEMA })
  @ApiOperation({ summary: 'Cancel; 200 when it is cancelled, 202 while its worker has not confirmed' })
  async cancel(
    @Param('task_id', TaskId) taskId: string,
    @Caller() caller: Principal,
    @Res({ passthrough: true }) response: Response,
  ): Promise<TaskView> {
    const view = await this.canceller.cancel(taskId, this.scope(caller));
    response.status(view.status === 'cancelled' ? 200 : 202);
    return view;
  }

  private scope(caller: Principal): Scope {
    return { agentId: this.agent.definition.id, tenant: caller.tenant, userId: onlyUserOf(caller) };
  }

  private toTask(
    body: SubmitTaskDto,
    headers: Record<string, string | undefined>,
    caller: Principal,
  ): AgentTask {
    return agentTaskOf(body, caller, this.agent.definition, {
      idempotencyKey: idempotencyKeyOf(headers['idempotency-key']),
      timeoutMs: deadlineOf(headers['x-deadline-ms']),
      traceparent: headers['traceparent'] ?? null,
    });
  }
}

function idempotencyKeyOf(header: string | undefined): string | null {
  if (header === undefined) return null;
  if (header.length <= TASK_LIMITS.idempotencyKeyChars && /^[\x21-\x7e]+$/.test(header)) return header;
  const message = `Idempotency-Key must be 1 to ${TASK_LIMITS.idempotencyKeyChars} visible ASCII characters`;
  throw validationError([{ field: 'Idempotency-Key', message }]);
}

const MAX_DEADLINE_MS = 86_400_000;

/** Milliseconds from now in which the caller wants the task to end. */
function deadlineOf(header: string | undefined): number | null {
  if (header === undefined) return null;
  const ms = /^\d{1,8}$/.test(header) ? Number(header) : 0;
  if (ms >= 1 && ms <= MAX_DEADLINE_MS) return ms;
  const message = `X-Deadline-Ms must be a whole number from 1 to ${MAX_DEADLINE_MS}`;
  throw validationError([{ field: 'X-Deadline-Ms', message }]);
}
