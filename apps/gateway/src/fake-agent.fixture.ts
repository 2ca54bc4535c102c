import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import {
  loadPackageDefinition,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type GrpcObject,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { projectRoot } from '#libs/chassis';
import type { agentsV1 } from '#libs/contracts';

type Answer<T> = (request: T) => object | Promise<object>;
export type StepStream = ServerWritableStream<agentsV1.TaskRequest, Partial<agentsV1.StepEvent>>;

/** An agent's gRPC door that does what a test says; it knows every request. */
export class FakeAgent {
  readonly requests: Array<{ method: string; request: agentsV1.TaskRequest }> = [];
  readonly streams: StepStream[] = [];
  answer: Answer<agentsV1.TaskRequest> = ({ task_id }) => ({ task_id, status: 'pending' });
  /** Default: begins to answer, and says nothing. */
  onStream: (stream: StepStream) => void = () => undefined;
  private readonly server = new Server();

  address = '';
  private readonly sockets = new Set<Socket>();
  /** What can be cut: gRPC's own shutdown says goodbye. */
  private readonly line = createServer();

  static async start(): Promise<FakeAgent> {
    const agent = new FakeAgent();
    const folder = join(projectRoot(), 'proto');
    const definition = loadSync('agents/v1/agent_service.proto', { keepCase: true, includeDirs: [folder] });
    const { v1 } = loadPackageDefinition(definition)['agents'] as GrpcObject;
    const { service } = (v1 as GrpcObject)['AgentService'] as ServiceClientConstructor;
    agent.server.addService(service, {
      GetTask: agent.unary('GetTask'),
      SubmitTask: agent.unary('SubmitTask'),
      StreamSteps: (stream: StepStream) => {
        agent.streams.push(stream);
        stream.sendMetadata(new Metadata());
        agent.onStream(stream);
      },
    });
    const port = await new Promise<number>((resolve, reject) =>
      agent.server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    agent.line.on('connection', (client: Socket) => agent.connect(client, connect(port, '127.0.0.1')));
    await once(agent.line.listen(0, '127.0.0.1'), 'listening');
    agent.address = `127.0.0.1:${(agent.line.address() as AddressInfo).port}`;
    return agent;
  }

  /** As a killed process does: all connections break, none is taken any more. */
  die(): void {
    this.line.close();
    for (const socket of this.sockets) socket.destroy();
    this.server.forceShutdown();
  }

  private connect(client: Socket, upstream: Socket): void {
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) {
      this.sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
    }
  }

  private unary(method: string) {
    const answered = async (
      { request }: ServerUnaryCall<agentsV1.TaskRequest, object>,
      done: sendUnaryData<object>,
    ): Promise<void> => {
      this.requests.push({ method, request });
      done(null, await this.answer(request));
    };
    return (...call: Parameters<typeof answered>) => void answered(...call);
  }
}

/** Ends a stream as a connection does that breaks. */
export const breakOff = (stream: StepStream): void =>
  void stream.emit('error', { code: status.UNAVAILABLE, details: 'broken' });
