import type { AgentResult, TaskView } from '#libs/contracts';
import type { SpawnedService } from '#libs/devstack';
import { TaskApi, type Answer, type TestStack } from '#libs/testing';
import {
  accepted,
  type Accepted,
  type Asker,
  type Door,
  type Refusal,
  type Step,
  type TaskRequest,
} from './door.js';

type Refused = Answer<{ code?: string; errors?: Array<{ field: string }> }>;

/** HTTP at the agent itself. */
export class RestDoor implements Door {
  readonly name = 'REST';
  readonly overload = 'refuses';

  constructor(
    private readonly stack: TestStack,
    private readonly agent: SpawnedService,
  ) {}

  async submit(request: TaskRequest, asker?: Asker): Promise<Accepted | Refusal> {
    const { key, deadline_ms, ...body } = request;
    const headers = {
      ...(key === undefined ? {} : { 'idempotency-key': key }),
      ...(deadline_ms === undefined ? {} : { 'x-deadline-ms': String(deadline_ms) }),
    };
    const answer = await this.api(asker).submit(body, headers);
    return answer.status === 202 ? { taskId: answer.body.task_id } : refusalOf(answer);
  }

  async send(request: TaskRequest & { key: string }): Promise<void> {
    accepted(await this.submit(request));
  }

  result(taskId: string, asker?: Asker): Promise<AgentResult> {
    return this.api(asker).ended(taskId);
  }

  async steps(taskId: string): Promise<Step[]> {
    const entries = await this.api().journal(taskId);
    return entries.map(({ seq, body }) => ({ sequence: seq, kind: body.kind }));
  }

  async cancel(taskId: string, asker?: Asker): Promise<{ status: string } | Refusal> {
    const answer = await this.api(asker).cancel(taskId);
    return answer.status === 200 ? { status: (answer.body as TaskView).status } : refusalOf(answer);
  }

  async close(): Promise<void> {
    // Nothing is kept open.
  }

  private api(asker: Asker = {}): TaskApi {
    if (!('token' in asker)) return this.stack.api(this.agent, asker);
    return TaskApi.direct(this.agent.url, asker.token);
  }
}

const refusalOf = ({ body }: Refused): Refusal => ({
  refused: body.code ?? 'no problem',
  fields: (body.errors ?? []).map(({ field }) => field),
});
