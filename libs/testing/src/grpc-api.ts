import { GrpcClient, type GrpcCallOptions } from '#libs/chassis';
import type { agentsV1 } from '#libs/contracts';

/** Options of a call that a test may set; `token: null` sends none. */
export interface GrpcOptions {
  token?: string | null;
  timeoutMs?: number;
  signal?: AbortSignal;
  metadata?: Record<string, string>;
}

/** An agent's gRPC door. A refusal is raised as the error that the agent raised. */
export class GrpcApi {
  private readonly client: GrpcClient;

  /** @param url of the door, e.g. `grpc://127.0.0.1:50061` */
  constructor(
    url: string,
    private readonly token: string | null,
  ) {
    this.client = new GrpcClient({
      name: 'agent',
      url,
      service: 'agents.v1.AgentService',
      protoPath: 'agents/v1/agent_service.proto',
    });
  }

  run(request: object, options?: GrpcOptions): Promise<agentsV1.TaskResponse> {
    return this.unary('RunTask', request, options);
  }

  submit(request: object, options?: GrpcOptions): Promise<agentsV1.TaskResponse> {
    return this.unary('SubmitTask', request, options);
  }

  get(taskId: string, options?: GrpcOptions): Promise<agentsV1.TaskResponse> {
    return this.unary('GetTask', { task_id: taskId }, options);
  }

  cancel(taskId: string, options?: GrpcOptions): Promise<agentsV1.TaskResponse> {
    return this.unary('CancelTask', { task_id: taskId }, options);
  }

  list(request: object = {}, options?: GrpcOptions): Promise<agentsV1.ListTasksResponse> {
    return this.unary('ListTasks', request, options);
  }

  agent(options?: GrpcOptions): Promise<agentsV1.GetAgentResponse> {
    return this.unary('GetAgent', {}, options);
  }

  health(options?: GrpcOptions): Promise<agentsV1.HealthResponse> {
    return this.unary('Health', {}, options);
  }

  /** The steps until the stream ends; leaving the loop cancels the call. */
  async *steps(request: object, options: GrpcOptions = {}): AsyncGenerator<agentsV1.StepEvent> {
    yield* await this.client.stream<agentsV1.StepEvent>('StreamSteps', request, this.callOptions(options));
  }

  close(): void {
    this.client.close();
  }

  private unary<T>(method: string, request: object, options: GrpcOptions = {}): Promise<T> {
    return this.client.unary<T>(method, request, this.callOptions(options));
  }

  private callOptions({
    token = this.token,
    timeoutMs = 60_000,
    signal,
    metadata,
  }: GrpcOptions): GrpcCallOptions {
    const authorization: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
    return { metadata: { ...authorization, ...metadata }, timeoutMs, signal };
  }
}
