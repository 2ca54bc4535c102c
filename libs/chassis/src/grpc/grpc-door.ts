import { createServer, type AddressInfo } from 'node:net';
import type { ChannelOptions, Server, ServiceDefinition as GrpcServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import type { INestApplication } from '@nestjs/common';
import { Transport, type GrpcOptions } from '@nestjs/microservices';
import { protoPath as healthProto } from 'grpc-health-check';
import { bounded, loadConfig, type Env } from '../config.js';
import { Readiness } from '../health.js';
import { deadlineCap } from './deadline-cap.js';
import { GrpcHealth } from './grpc-health.js';
import { loaderOptions, protoFile } from './proto.js';
import { strictly } from './received-message.js';
import { GRPC_TLS_CONFIG, serverCredentials } from './tls.js';

/** A service's gRPC door: which definitions it serves; its controllers have `@GrpcMethod`s. */
export interface GrpcDefinition {
  /** E.g. `agents.v1`. */
  package: string;
  /** Below `proto/`, e.g. `agents/v1/agent_service.proto`. */
  protoPath: string;
}

/** Variables of a service with a gRPC door. */
const GRPC_CONFIG = {
  GRPC_PORT: bounded(0, 65_535)({ default: 50_051, desc: 'gRPC port; 0 takes a free one' }),
  GRPC_CALL_MS: bounded(
    100,
    86_400_000,
  )({ default: 900_000, desc: 'Longest call of a client that named no deadline' }),
  ...GRPC_TLS_CONFIG,
};

/** Bytes of a message: a request is as large as an HTTP body may be, an answer as a page of the longest tasks. */
const MAX_RECEIVED = 1_048_576;
export const MAX_SENT = 67_108_864;
/** Calls at once on one connection; more wait at the client. */
const MAX_STREAMS = 2048;
const MAX_METADATA = 16_384;

export interface GrpcDoor {
  /** Where it listens, e.g. `grpc://127.0.0.1:50051`; `grpcs://` with TLS. */
  url: string;
  /** Begins to listen. */
  open(): Promise<void>;
  /** Says NOT_SERVING and takes no new calls; those that are there go on until the application closes. */
  drain(): void;
}

/** Adds the door to an application, before that is initialised; global pipes, filters and guards apply. */
export async function grpcDoor(
  app: INestApplication,
  { package: name, protoPath }: GrpcDefinition,
  env: Env,
  host: string,
): Promise<GrpcDoor> {
  const config = loadConfig(env, GRPC_CONFIG);
  const port = config.GRPC_PORT || (await freePort(host));
  const definition = loadSync(protoFile(protoPath), loaderOptions());
  const services = servicesOf(definition, name);
  for (const service of services) checkMessages(definition[service] as GrpcServiceDefinition);
  const health = new GrpcHealth(app.get(Readiness), services);
  let server: Server | undefined;
  const options: GrpcOptions = {
    transport: Transport.GRPC,
    options: {
      url: `${host}:${port}`,
      package: name,
      packageDefinition: definition,
      credentials: serverCredentials(config),
      maxReceiveMessageLength: MAX_RECEIVED,
      maxSendMessageLength: MAX_SENT,
      maxMetadataSize: MAX_METADATA,
      keepalive: { keepaliveTimeMs: 30_000, keepaliveTimeoutMs: 10_000 },
      channelOptions: {
        'grpc.max_concurrent_streams': MAX_STREAMS,
        'grpc.enable_channelz': 0,
        // Nest hands these to the server as they are.
        interceptors: [deadlineCap(services, config.GRPC_CALL_MS)],
      } as ChannelOptions,
      onLoadPackageDefinition: (_: unknown, nestServer: Server) => {
        server = nestServer;
        health.addTo(nestServer);
        const described = { ...definition, ...loadSync(healthProto, loaderOptions()) };
        new ReflectionService(described).addToServer(nestServer);
      },
    },
  };
  const microservice = app.connectMicroservice(options, { inheritAppConfig: true });
  return {
    url: `${config.GRPC_TLS_CERT ? 'grpcs' : 'grpc'}://${host === '0.0.0.0' ? '127.0.0.1' : host}:${port}`,
    open: async () => void (await microservice.listen()),
    drain: () => {
      health.stop();
      // Nest closes by force what is left.
      server?.tryShutdown(() => undefined);
    },
  };
}

function servicesOf(definition: PackageDefinition, name: string): string[] {
  return Object.keys(definition).filter(
    (key) => key.startsWith(`${name}.`) && !('format' in definition[key]!),
  );
}

function checkMessages(service: GrpcServiceDefinition): void {
  for (const method of Object.values(service))
    method.requestDeserialize = strictly(method.requestDeserialize);
}

/** Nest does not say which port it got. Another process may take this one before it is used. */
function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, host, () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
