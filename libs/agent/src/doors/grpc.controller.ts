import { setTimeout as sleep } from 'node:timers/promises';
import { Metadata } from '@grpc/grpc-js';
import { Controller, Inject } from '@nestjs/common';
import { GrpcMethod, Payload } from '@nestjs/microservices';
import type { Observable } from 'rxjs';
import { Caller, hasScope, Public, Scopes, type Principal } from '#libs/auth';
import { GrpcCall, Readiness, validated, type IncomingCall } from '#libs/chassis';
import {
  BatonError,
  isTerminal,
  ListTasksDto,
  RetryableError,
  TASK_ID_METADATA,
  TerminalError,
  type agentsV1,
  type AgentTask,
  type TaskPage,
  type TaskView,
} from '#libs/contracts';
import { AGENT, type Agent } from '../agent.js';
import { Canceller } from '../canceller.js';
import { TaskFeed } from '../feed.js';
import { Intake } from '../intake.js';
import { agentTaskOf } from './agent-task.js';
import { stepEvents } from './step-events.js';
import { AttachDto, TaskIdDto, TaskRequestDto } from './task-request.dto.js';
import { TaskViews } from './task-views.js';

const SERVICE = 'AgentService';
/** The longest that a call without a deadline waits; the chassis ends it before. */
const NO_DEADLINE_MS = 86_400_000;
/** A task outlives the deadline of its call by this much, so that its end is the cancellation when somebody is there to cancel it. */
const DEADLINE_GRACE_MS = 1000;
const CANCEL_ATTEMPTS = 30;

/** The gRPC door: translates to an `AgentTask` and back, nothing more. `proto/agents/v1/agent_service.proto` describes it. */
@Controller()
export class GrpcController {
  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(Intake) private readonly intake: Intake,
    @Inject(TaskViews) private readonly views: TaskViews,
    @Inject(TaskFeed) private readonly feed: TaskFeed,
    @Inject(Canceller) private readonly canceller: Canceller,
    @Inject(Readiness) private readonly readiness: Readiness,
  ) {}

  @Scopes('tasks:write')
  @GrpcMethod(SERVICE, 'RunTask')
  async runTask(
    @Payload() request: TaskRequestDto,
    @Caller() caller: Principal,
    @GrpcCall() call: IncomingCall,
  ): Promise<agentsV1.TaskResponse> {
    const remainingMs = call.remainingMs;
    const { taskId, created } = await this.intake.accept(this.toTask(request, caller, call, remainingMs));
    this.tell(call, taskId);
    const waiting = call.signalOr(this.readiness.drainSignal);
    const ended = await this.feed.waitForEnd(taskId, remainingMs ?? NO_DEADLINE_MS, waiting, created);
    if (ended) return response(await this.views.find(taskId, caller));
    // A drain also cuts the call, but nobody gave the task up.
    if (this.readiness.isDraining) throw draining();
    if (created) await this.cancelAbandoned(taskId, caller);
    throw new RetryableError('timeout', 'The task did not end in time', { status: 504 });
  }

  @Scopes('tasks:read')
  @GrpcMethod(SERVICE, 'StreamSteps')
  async streamSteps(
    @Payload() request: agentsV1.TaskRequest,
    @Caller() caller: Principal,
    @GrpcCall() call: IncomingCall,
  ): Promise<Observable<agentsV1.StepEvent>> {
    const { taskId, after } = await this.watched(request, caller, call);
    const { status } = await this.views.find(taskId, caller);
    this.tell(call, taskId);
    const watching = call.signalOr(this.readiness.drainSignal);
    return call.answer(this.steps(taskId, after, isTerminal(status), watching));
  }

  @Scopes('tasks:write')
  @GrpcMethod(SERVICE, 'SubmitTask')
  async submitTask(
    @Payload() request: TaskRequestDto,
    @Caller() caller: Principal,
    @GrpcCall() call: IncomingCall,
  ): Promise<Partial<agentsV1.TaskResponse>> {
    const { taskId, status, created } = await this.intake.accept(this.toTask(request, caller, call));
    if (!request.wait_ms) return { task_id: taskId, status };
    const waiting = call.signalOr(this.readiness.drainSignal);
    await this.feed.waitForEnd(taskId, request.wait_ms, waiting, created);
    return response(await this.views.find(taskId, caller));
  }

  @Scopes('tasks:read')
  @GrpcMethod(SERVICE, 'GetTask')
  async getTask(
    @Payload() { task_id }: TaskIdDto,
    @Caller() caller: Principal,
  ): Promise<agentsV1.TaskResponse> {
    return response(await this.views.find(task_id.toLowerCase(), caller));
  }

  @Scopes('tasks:write')
  @GrpcMethod(SERVICE, 'CancelTask')
  async cancelTask(
    @Payload() { task_id }: TaskIdDto,
    @Caller() caller: Principal,
  ): Promise<agentsV1.TaskResponse> {
    return response(await this.canceller.cancel(task_id.toLowerCase(), this.views.scopeOf(caller)));
  }

  @Scopes('tasks:read')
  @GrpcMethod(SERVICE, 'ListTasks')
  async listTasks(
    @Payload() query: ListTasksDto,
    @Caller() caller: Principal,
  ): Promise<agentsV1.ListTasksResponse> {
    return page(await this.views.list(query, caller));
  }

  @GrpcMethod(SERVICE, 'GetAgent')
  getAgent(): agentsV1.GetAgentResponse {
    return this.views.card();
  }

  @Public()
  @GrpcMethod(SERVICE, 'Health')
  async health(): Promise<agentsV1.HealthResponse> {
    const missing = await this.readiness.missing();
    return {
      status: missing.length === 0 ? 'ok' : 'not_ready',
      missing: Object.fromEntries(missing.map(({ name, cause }) => [name, cause])),
    };
  }

  /** The task to stream: the one that `task_id` names where there is no prompt, else the one that is submitted. */
  private async watched(
    request: agentsV1.TaskRequest,
    caller: Principal,
    call: IncomingCall,
  ): Promise<{ taskId: string; after: number }> {
    if (request.task_id !== undefined && request.prompt.trim() === '') {
      const { task_id, after_sequence } = request;
      const attach = await validated(AttachDto, { task_id, after_sequence });
      return { taskId: attach.task_id.toLowerCase(), after: attach.after_sequence ?? 0 };
    }
    if (!hasScope(caller, 'tasks:write'))
      throw new TerminalError('forbidden', 'The token lacks the scope tasks:write', { status: 403 });
    const submit = await validated(TaskRequestDto, request);
    const { taskId } = await this.intake.accept(this.toTask(submit, caller, call));
    return { taskId, after: submit.after_sequence ?? 0 };
  }

  /** Ends early with UNAVAILABLE when this instance stops: the client resumes elsewhere. */
  private async *steps(
    taskId: string,
    after: number,
    ended: boolean,
    signal: AbortSignal,
  ): AsyncGenerator<agentsV1.StepEvent> {
    const toStep = stepEvents(after);
    let finished = false;
    for await (const item of this.feed.watch(taskId, after, ended, signal)) {
      yield toStep(item);
      finished = 'entry' in item && item.entry.body.kind === 'finish';
    }
    if (this.readiness.isDraining && !finished) throw draining();
  }

  /** Never ignored: the task's own deadline ends it only where this process dies before it gets through. */
  private async cancelAbandoned(taskId: string, caller: Principal): Promise<void> {
    for (let attempt = 1; ; attempt += 1)
      try {
        await this.canceller.cancel(taskId, this.views.scopeOf(caller));
        return;
      } catch (error) {
        // It has ended meanwhile.
        if (error instanceof BatonError && !error.retryable) return;
        if (attempt === CANCEL_ATTEMPTS) throw error;
        await sleep(1000);
      }
  }

  private tell(call: IncomingCall, taskId: string): void {
    const metadata = new Metadata();
    metadata.set(TASK_ID_METADATA, taskId);
    call.begin(metadata);
  }

  private toTask(
    request: TaskRequestDto,
    caller: Principal,
    call: IncomingCall,
    remainingMs: number | null = null,
  ): AgentTask {
    const limits = [request.deadline_ms, remainingMs === null ? undefined : remainingMs + DEADLINE_GRACE_MS];
    const given = limits.filter((limit) => limit !== undefined);
    return agentTaskOf(request, caller, this.agent.definition, {
      id: request.task_id?.toLowerCase() ?? null,
      idempotencyKey: request.idempotency_key ?? null,
      timeoutMs: given.length === 0 ? null : Math.max(1, Math.min(...given)),
      traceparent: call.header('traceparent'),
    });
  }
}

const draining = () => new RetryableError('draining', 'This instance is stopping', { retryAfterMs: 1000 });

/** Null is absent in a message. */
function response(view: TaskView): agentsV1.TaskResponse {
  return view as { [K in keyof TaskView]: Exclude<TaskView[K], null> };
}

function page({ tasks, next_cursor }: TaskPage): agentsV1.ListTasksResponse {
  return { tasks: tasks.map(response), next_cursor: next_cursor ?? undefined };
}
