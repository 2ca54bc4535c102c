import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Module, type DynamicModule, type INestApplication, type Provider } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { messageOf } from '#libs/contracts';
import { createLogger, metricsModule, NestLogger, type Logger } from '#libs/telemetry';
import { bounded, loadConfig, str, type Env } from './config.js';
import { grpcDoor, type GrpcDefinition, type GrpcDoor } from './grpc/grpc-door.js';
import { HealthModule, Readiness } from './health.js';
import { httpAdapter, type HttpRules } from './http-adapter.js';
import { ProblemFilter, type ErrorBody } from './problem.filter.js';
import { RequestValidationPipe } from './validation.js';

/** Injection token of the service's `Logger`. */
export const LOGGER = Symbol('Logger');

/** What a service is made of; the chassis adds health, metrics, problems, validation, limits, documentation and drain. */
export interface ServiceDefinition extends HttpRules {
  name: string;
  description: string;
  /** The service's modules. */
  imports: NonNullable<DynamicModule['imports']>;
  providers?: Provider[];
  controllers?: NonNullable<DynamicModule['controllers']>;
  /** A gRPC door beside the HTTP one, with health, reflection and the same guards, pipes and errors. */
  grpc?: GrpcDefinition;
  /** Milliseconds that a drain may take before the process ends anyway. Default 10,000. */
  drainMs?: number;
  errorBody?: ErrorBody;
  /** Opens further doors, such as the one for messages; called once the HTTP one is open. */
  openDoors?: (app: INestApplication) => Promise<void>;
}

/** A service as its app exports it: made from environment variables and nothing else. */
export type ServiceFactory = (env: Env) => ServiceDefinition;

export interface RunningService {
  name: string;
  /** Where it listens, e.g. `http://127.0.0.1:8090`. */
  url: string;
  /** Its gRPC door, e.g. `grpc://127.0.0.1:50061`; null when it has none. */
  grpcUrl: string | null;
  app: INestApplication;
  /** See `ServiceDefinition.drainMs`. */
  drainMs: number;
  /** Drains and stops; safe to call twice. */
  stop(): Promise<void>;
}

/** Variables that every service reads. */
const CHASSIS_CONFIG = {
  PORT: bounded(0, 65_535)({ default: 8080, desc: 'HTTP port; 0 takes a free one' }),
  HOST: str({ default: '0.0.0.0', desc: 'Address to listen on' }),
  LOG_LEVEL: str({
    default: 'info',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
  }),
  BODY_TIMEOUT_MS: bounded(
    100,
    600_000,
  )({ default: 10_000, desc: 'Time in which a request has to arrive, headers and body' }),
};

@Module({})
class ServiceModule {}

/** Starts a service from `env`. @throws TerminalError `configuration` naming every wrong variable. */
export async function startService(factory: ServiceFactory, env: Env = process.env): Promise<RunningService> {
  const config = loadConfig(env, CHASSIS_CONFIG);
  const definition = factory(env);
  const logger = createLogger(definition.name, config.LOG_LEVEL);
  const app = await NestFactory.create(
    rootModule(definition, logger),
    httpAdapter(definition, config.BODY_TIMEOUT_MS),
    {
      logger: new NestLogger(logger),
      bodyParser: false,
      forceCloseConnections: true,
      abortOnError: false,
    },
  );
  app.useGlobalPipes(new RequestValidationPipe());
  app.useGlobalFilters(new ProblemFilter(logger, definition.errorBody));
  serveDocs(app, definition);
  const grpc = await openDoors(app, definition, env, config).catch(async (error: unknown) => {
    await app.close();
    throw error;
  });
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  const url = `http://${config.HOST === '0.0.0.0' ? '127.0.0.1' : config.HOST}:${port}`;
  logger.info({ url, ...(grpc ? { grpcUrl: grpc.url } : {}) }, 'service started');
  let stopping: Promise<void> | undefined;
  const stop = () => {
    app.get(Readiness).drain();
    grpc?.drain();
    return (stopping ??= app.close());
  };
  return {
    name: definition.name,
    url,
    grpcUrl: grpc?.url ?? null,
    app,
    drainMs: definition.drainMs ?? DRAIN_MS,
    stop,
  };
}

async function openDoors(
  app: INestApplication,
  definition: ServiceDefinition,
  env: Env,
  { HOST, PORT }: { HOST: string; PORT: number },
): Promise<GrpcDoor | null> {
  const grpc = definition.grpc ? await grpcDoor(app, definition.grpc, env, HOST) : null;
  await app.listen(PORT, HOST);
  await grpc?.open();
  await definition.openDoors?.(app);
  return grpc;
}

function rootModule(definition: ServiceDefinition, logger: Logger): DynamicModule {
  return {
    module: ServiceModule,
    imports: [loggerModule(logger), HealthModule.register(), metricsModule(), ...definition.imports],
    providers: definition.providers,
    controllers: definition.controllers,
  };
}

@Module({})
class LoggerModule {}

function loggerModule(logger: Logger): DynamicModule {
  return {
    module: LoggerModule,
    global: true,
    providers: [{ provide: LOGGER, useValue: logger }],
    exports: [LOGGER],
  };
}

function serveDocs(app: INestApplication, { name, description }: ServiceDefinition): void {
  const builder = new DocumentBuilder()
    .setTitle(name)
    .setDescription(description)
    .addBearerAuth()
    .addBasicAuth()
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-API-Key' }, 'api-key')
    .setVersion('1');
  SwaggerModule.setup('docs', app, () => SwaggerModule.createDocument(app, builder.build()));
}

/** A service's `main.ts`: starts it, drains on SIGTERM and SIGINT, exits 1 with the reason when it cannot start. */
export async function runService(factory: ServiceFactory): Promise<void> {
  try {
    const service = await startService(factory);
    stopOnSignal(() => service.stop(), service.drainMs);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exit(1);
  }
}

/** A drain that takes longer waits for something that is away, e.g. a lost Redis: what must not be lost is in Postgres by then. */
const DRAIN_MS = 10_000;

/**
 * One handler for the whole process: the first signal drains, a second one ends it at once.
 * @param withinMs milliseconds after which the process ends although `stop` has not resolved; by default it waits
 */
export function stopOnSignal(stop: () => Promise<void>, withinMs?: number): void {
  const fail = (reason: string) => {
    process.stderr.write(`${reason}\n`);
    process.exit(1);
  };
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      if (stopping) process.exit(130);
      stopping = true;
      if (withinMs !== undefined) setTimeout(() => fail(`not stopped within ${withinMs / 1000} s`), withinMs);
      stop().then(
        () => process.exit(0),
        (error: unknown) => fail(messageOf(error)),
      );
    });
}
