import {
  BatonError,
  isTerminal,
  type AgentResult,
  type agentsV1,
  type JournalEntry,
  type TaskStatus,
} from '#libs/contracts';
import type { SpawnedService } from '#libs/devstack';
import { eventually, GrpcApi, type TestStack } from '#libs/testing';
import {
  accepted,
  type Accepted,
  type Asker,
  type Door,
  type Refusal,
  type Step,
  type TaskRequest,
} from './door.js';

export class GrpcDoor implements Door {
  readonly name = 'gRPC';
  readonly overload = 'refuses';
  private readonly api: GrpcApi;

  constructor(
    private readonly stack: TestStack,
    agent: SpawnedService,
  ) {
    this.api = new GrpcApi(agent.grpcUrl, null);
  }

  submit({ key, ...request }: TaskRequest, asker?: Asker): Promise<Accepted | Refusal> {
    return this.api
      .submit({ ...request, idempotency_key: key }, this.options(asker))
      .then(({ task_id }) => ({ taskId: task_id }), refusalOf);
  }

  async send(request: TaskRequest & { key: string }): Promise<void> {
    accepted(await this.submit(request));
  }

  async result(taskId: string, asker?: Asker): Promise<AgentResult> {
    const ended = await eventually(
      () => this.api.get(taskId, this.options(asker)),
      ({ status }) => isTerminal(status as TaskStatus),
    );
    return resultOf(ended);
  }

  async steps(taskId: string): Promise<Step[]> {
    const steps: Step[] = [];
    for await (const { sequence, entry_json } of this.api.steps({ task_id: taskId }, this.options()))
      if (sequence > 0) steps.push({ sequence, kind: (JSON.parse(entry_json) as JournalEntry).body.kind });
    return steps;
  }

  cancel(taskId: string, asker?: Asker): Promise<{ status: string } | Refusal> {
    return this.api.cancel(taskId, this.options(asker)).then(({ status }) => ({ status }), refusalOf);
  }

  async close(): Promise<void> {
    this.api.close();
  }

  private options(asker: Asker = {}): { token: string | null } {
    return { token: 'token' in asker ? asker.token : this.stack.token(asker) };
  }
}

/** What is absent in gRPC is null elsewhere. */
function resultOf(task: agentsV1.TaskResponse): AgentResult {
  return {
    ...task,
    status: task.status as TaskStatus,
    output: task.output ?? null,
    error: task.error ?? null,
  };
}

function refusalOf(error: unknown): Refusal {
  if (!(error instanceof BatonError)) throw error;
  return { refused: error.code, fields: (error.errors ?? []).map(({ field }) => field) };
}
