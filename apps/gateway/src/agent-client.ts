import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Tokens, type Principal } from '#libs/auth';
import { GrpcClient, type GrpcCallOptions, type GrpcTls } from '#libs/chassis';
import {
  BatonError,
  type AgentCard,
  type agentsV1,
  type TaskPage,
  type TaskStatus,
  type TaskView,
} from '#libs/contracts';
import type { AgentUrls } from './agents.js';

/** Injection token of `AgentAddresses`. */
export const AGENT_ADDRESSES = Symbol('AgentAddresses');

export interface AgentAddresses {
  urls: AgentUrls;
  tls: GrpcTls;
}

/** For whom an agent is asked. */
export interface OnBehalf {
  caller: Principal;
  traceparent?: string;
  signal?: AbortSignal;
}

const ANSWER_MS = 10_000;
/** A day: the chassis of an agent would end a stream without a deadline sooner than the task. */
const STREAM_MS = 86_400_000;
/** A stream that broke is taken up again for so long; then the client does it. */
const RESUME_MS = 20_000;
const RESUME_PAUSE_MS = 250;
/** A stream that held for so long was there: what breaks it next is another outage. */
const STEADY_MS = 1000;
/** The instance that was asked has gone, or is going. */
const GONE = ['unreachable', 'draining'];

/** The agents' API over gRPC, with the caller's identity passed on. Answers have the form of the agents' REST door. */
@Injectable()
export class AgentClient implements OnApplicationShutdown {
  private readonly clients = new Map<string, GrpcClient>();

  constructor(
    @Inject(AGENT_ADDRESSES) { urls, tls }: AgentAddresses,
    @Inject(Tokens) private readonly tokens: Tokens,
  ) {
    for (const [name, url] of urls)
      this.clients.set(
        name,
        new GrpcClient({
          name,
          url,
          service: 'agents.v1.AgentService',
          protoPath: 'agents/v1/agent_service.proto',
          tls,
        }),
      );
  }

  get ids(): string[] {
    return [...this.clients.keys()];
  }

  card(agent: string, by: OnBehalf): Promise<AgentCard> {
    return this.ask<AgentCard>(agent, 'GetAgent', {}, by, 3000);
  }

  async submit(
    agent: string,
    task: agentsV1.TaskRequest,
    by: OnBehalf,
  ): Promise<{ task_id: string; status: string }> {
    const { task_id, status } = await this.ask<agentsV1.TaskResponse>(
      agent,
      'SubmitTask',
      repeatable(task),
      by,
    );
    return { task_id, status };
  }

  /** Submits and waits for the end, up to `waitMs`. */
  async run(agent: string, task: agentsV1.TaskRequest, waitMs: number, by: OnBehalf): Promise<TaskView> {
    const request = repeatable({ ...task, wait_ms: waitMs });
    return viewOf(
      await this.ask<agentsV1.TaskResponse>(agent, 'SubmitTask', request, by, waitMs + ANSWER_MS),
    );
  }

  async get(agent: string, taskId: string, by: OnBehalf): Promise<TaskView> {
    return viewOf(await this.ask<agentsV1.TaskResponse>(agent, 'GetTask', { task_id: taskId }, by));
  }

  async cancel(agent: string, taskId: string, by: OnBehalf): Promise<TaskView> {
    return viewOf(await this.ask<agentsV1.TaskResponse>(agent, 'CancelTask', { task_id: taskId }, by));
  }

  async list(agent: string, query: agentsV1.ListTasksRequest, by: OnBehalf): Promise<TaskPage> {
    const page = await this.ask<agentsV1.ListTasksResponse>(agent, 'ListTasks', query, by);
    return { tasks: page.tasks.map(viewOf), next_cursor: page.next_cursor ?? null };
  }

  /**
   * The task's steps after `after`, once the agent has begun to answer. When the agent dies the stream goes on where it broke, at the
   * next one that answers, without gap or repeat; after 20 s without one it is cut.
   */
  async steps(
    agent: string,
    taskId: string,
    after: number,
    by: OnBehalf & { signal: AbortSignal },
  ): Promise<AsyncGenerator<agentsV1.StepEvent>> {
    const first = await onceMore(() => this.attach(agent, taskId, after, by), by);
    return this.resumed(agent, taskId, after, by, first);
  }

  private async *resumed(
    agent: string,
    taskId: string,
    after: number,
    by: OnBehalf & { signal: AbortSignal },
    first: AsyncGenerator<agentsV1.StepEvent>,
  ): AsyncGenerator<agentsV1.StepEvent> {
    let last = after;
    let stream: AsyncGenerator<agentsV1.StepEvent> | undefined = first;
    let attachedAt = performance.now();
    let brokenAt: number | undefined;
    let finished = false;
    for (;;)
      try {
        if (!stream) {
          stream = await this.attach(agent, taskId, last, by);
          attachedAt = performance.now();
        }
        for await (const step of stream) {
          brokenAt = undefined;
          if (step.sequence > 0) last = step.sequence;
          yield step;
          finished = step.type === 'finish';
        }
        return;
      } catch (error) {
        // The end would come again.
        if (finished) return;
        const now = performance.now();
        if (stream && now - attachedAt >= STEADY_MS) brokenAt = undefined;
        stream = undefined;
        brokenAt ??= now;
        const isOver = by.signal.aborted || now - brokenAt > RESUME_MS;
        if (isOver || !(error instanceof BatonError && error.retryable)) throw error;
        await sleep(RESUME_PAUSE_MS, undefined, { signal: by.signal });
      }
  }

  private async attach(
    agent: string,
    taskId: string,
    after: number,
    by: OnBehalf,
  ): Promise<AsyncGenerator<agentsV1.StepEvent>> {
    const request = { task_id: taskId, after_sequence: after };
    return this.clients.get(agent)!.stream('StreamSteps', request, await this.options(agent, by, STREAM_MS));
  }

  private async ask<T>(
    agent: string,
    method: string,
    request: object,
    by: OnBehalf,
    timeoutMs = ANSWER_MS,
  ): Promise<T> {
    const client = this.clients.get(agent)!;
    return onceMore(
      async () => client.unary<T>(method, request, await this.options(agent, by, timeoutMs)),
      by,
    );
  }

  private async options(
    agent: string,
    { caller, traceparent, signal }: OnBehalf,
    timeoutMs: number,
  ): Promise<GrpcCallOptions> {
    const authorization = await this.tokens.authorization(agent, caller);
    return { metadata: { authorization, ...(traceparent ? { traceparent } : {}) }, timeoutMs, signal };
  }

  onApplicationShutdown(): void {
    for (const client of this.clients.values()) client.close();
  }
}

/** Every request can be repeated: once more, at the next instance, when the one that was asked has gone. */
async function onceMore<T>(ask: () => Promise<T>, { signal }: OnBehalf): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (signal?.aborted || !(error instanceof BatonError && GONE.includes(error.code))) throw error;
    return ask();
  }
}

/** The task has an id before it is submitted, unless its client has a key for it: submitted again it is the same task. */
function repeatable(task: agentsV1.TaskRequest): agentsV1.TaskRequest {
  return task.idempotency_key === undefined ? { ...task, task_id: randomUUID() } : task;
}

/** Absent in a message is null. The members stand in the order of the REST door's. */
function viewOf(message: agentsV1.TaskResponse): TaskView {
  return {
    task_id: message.task_id,
    status: message.status as TaskStatus,
    output: message.output ?? null,
    error: message.error ?? null,
    steps_used: message.steps_used,
    tokens_used: message.tokens_used,
    tool_calls: message.tool_calls,
    duration_ms: message.duration_ms,
    agent_id: message.agent_id,
    session_id: message.session_id,
    error_detail: message.error_detail ?? null,
    cancel_requested: message.cancel_requested,
    created_at: message.created_at,
    started_at: message.started_at ?? null,
    finished_at: message.finished_at ?? null,
  };
}
