import { join } from 'node:path';
import { credentials, loadPackageDefinition, Metadata, type Client, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { projectRoot } from '#libs/chassis';
import { isTerminal, type AgentResult, type JournalEntry, type Problem, type TaskStatus } from '#libs/contracts';
import { eventually, type TestStack } from '#libs/testing';
import type { Accepted, Asker, Door, Refusal, Step, TaskRequest } from './door.js';

const DEADLINE_MS = 60_000;
type Call = (
  request: object,
  metadata: Metadata,
  options: { deadline: number },
  done: (error: ServiceError | null, answer: AgentResult) => void,
) => void;
type AgentClient = Client &
  Record<'SubmitTask' | 'GetTask' | 'CancelTask', Call> & {
    StreamSteps(request: object, metadata: Metadata, options: { deadline: number }): AsyncIterable<StepEvent>;
  };
interface StepEvent {
  sequence: number;
  entry_json: string;
}

/** gRPC with nothing but the proto file, as a client in any language has it. */
export class GrpcDoor implements Door {
  readonly name = 'gRPC';
  readonly overload = 'refuses';
  private readonly client: AgentClient;

  constructor(
    private readonly stack: TestStack,
    address: string,
  ) {
    const file = join(projectRoot(), 'proto/agents/v1/agent_service.proto');
    const loaded = loadPackageDefinition(loadSync(file, { keepCase: true, longs: Number, defaults: false }));
    const { AgentService } = (loaded['agents'] as never)['v1'] as {
      AgentService: new (address: string, channel: ReturnType<typeof credentials.createInsecure>) => AgentClient;
    };
    this.client = new AgentService(address, credentials.createInsecure());
  }

  submit({ key, ...request }: TaskRequest, asker?: Asker): Promise<Accepted | Refusal> {
    return this.call('SubmitTask', { ...request, idempotency_key: key }, asker).then(
      ({ task_id }) => ({ taskId: task_id }),
      refusalOf,
    );
  }

  async send(request: TaskRequest & { key: string }): Promise<void> {
    await this.submit(request);
  }

  async result(taskId: string, asker?: Asker): Promise<AgentResult> {
    return eventually(
      () => this.call('GetTask', { task_id: taskId }, asker),
      ({ status }) => isTerminal(status as TaskStatus),
    );
  }

  async steps(taskId: string): Promise<Step[]> {
    const stream = this.client.StreamSteps({ task_id: taskId }, this.metadata(), deadline());
    const steps: Step[] = [];
    for await (const { sequence, entry_json } of stream)
      if (sequence > 0) steps.push({ sequence, kind: (JSON.parse(entry_json) as JournalEntry).body.kind });
    return steps;
  }

  cancel(taskId: string, asker?: Asker): Promise<{ status: string } | Refusal> {
    return this.call('CancelTask', { task_id: taskId }, asker).then(({ status }) => ({ status }), refusalOf);
  }

  async close(): Promise<void> {
    this.client.close();
  }

  private call(method: 'SubmitTask' | 'GetTask' | 'CancelTask', request: object, asker?: Asker): Promise<AgentResult> {
    return new Promise((resolve, reject) =>
      this.client[method](request, this.metadata(asker), deadline(), (error, answer) =>
        error ? reject(error) : resolve(answer),
      ),
    );
  }

  private metadata(asker: Asker = {}): Metadata {
    const metadata = new Metadata();
    const token = 'token' in asker ? asker.token : this.stack.token(asker);
    if (token !== null) metadata.set('authorization', `Bearer ${token}`);
    return metadata;
  }
}

const deadline = () => ({ deadline: Date.now() + DEADLINE_MS });

function refusalOf(error: ServiceError): Refusal {
  const [trailer] = error.metadata?.get('baton-problem-bin') ?? [];
  if (!trailer) throw error;
  const { code, errors = [] } = JSON.parse(trailer.toString()) as Problem;
  return { refused: code, fields: errors.map(({ field }) => field) };
}
