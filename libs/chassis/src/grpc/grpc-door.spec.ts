import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader';
import { Controller } from '@nestjs/common';
import { GrpcMethod, Payload } from '@nestjs/microservices';
import { IsInt, Max, Min } from 'class-validator';
import { protoPath as healthProto } from 'grpc-health-check';
import type { Observable } from 'rxjs';
import { generate, type SelfsignedOptions } from 'selfsigned';
import { BatonError, RetryableError, TerminalError, type agentsV1, type ErrorOptions } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { Readiness } from '../health.js';
import { LOGGER, startService, type RunningService } from '../service.js';
import { GrpcCall, type IncomingCall } from './grpc-call.js';
import { GrpcClient } from './grpc-client.js';
import { loaderOptions } from './proto.js';

jest.setTimeout(60_000);

const AGENTS = { service: 'agents.v1.AgentService', protoPath: 'agents/v1/agent_service.proto' };
const TIMEOUT = { timeoutMs: 10_000 };

/** What the door under test does with the next calls. */
let failure: BatonError | Error;
let calls: IncomingCall[];
let produced: number;
let ended: number;

class StepsDto {
  @IsInt()
  @Min(0)
  @Max(10)
  max_steps: number;

  task_id?: unknown;
}

@Controller()
class Door {
  @GrpcMethod('AgentService', 'RunTask')
  async runTask(@Payload() _: agentsV1.TaskRequest, @GrpcCall() call: IncomingCall): Promise<never> {
    calls.push(call);
    await new Promise((resolve) => call.signal.addEventListener('abort', resolve));
    ended += 1;
    throw new RetryableError('gave-up', 'The caller has left');
  }

  @GrpcMethod('AgentService', 'StreamSteps')
  streamSteps(
    @Payload() { max_steps: count = 3 }: agentsV1.TaskRequest,
    @GrpcCall() call: IncomingCall,
  ): Observable<agentsV1.StepEvent> {
    calls.push(call);
    call.begin(new Metadata());
    return call.answer(steps(count));
  }

  @GrpcMethod('AgentService', 'SubmitTask')
  submitTask(@Payload() { prompt }: agentsV1.TaskRequest): Partial<agentsV1.TaskResponse> {
    return { task_id: 't', output: prompt };
  }

  @GrpcMethod('AgentService', 'ListTasks')
  listTasks(@Payload() { max_steps }: StepsDto): agentsV1.ListTasksResponse {
    return { tasks: [], next_cursor: String(max_steps) };
  }

  /** Fails once its caller has left. */
  @GrpcMethod('AgentService', 'CancelTask')
  async cancelTask(@Payload() _: object, @GrpcCall() call: IncomingCall): Promise<never> {
    calls.push(call);
    await new Promise((resolve) => call.signal.addEventListener('abort', resolve));
    throw failure;
  }

  @GrpcMethod('AgentService', 'GetTask')
  getTask(): never {
    throw failure;
  }
}

/** Entries of 64 KiB; fails after the third where it is asked for 1,000,000. */
async function* steps(count: number): AsyncGenerator<agentsV1.StepEvent> {
  try {
    for (let sequence = 1; sequence <= count; sequence += 1) {
      produced = sequence;
      yield { step_number: 1, type: 'delta', content: 'x'.repeat(65_536), sequence, entry_json: '' };
      if (sequence === 3 && count === 1_000_000) throw new RetryableError('draining', 'bye');
      await sleep(0);
    }
  } finally {
    ended += 1;
  }
}

let service: RunningService;
let client: GrpcClient;
const start = (env: Record<string, string> = {}) =>
  startService(
    () => ({
      name: 'door',
      description: 'A gRPC door under test',
      imports: [],
      controllers: [Door],
      grpc: { package: 'agents.v1', protoPath: AGENTS.protoPath },
    }),
    { PORT: '0', GRPC_PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: 'silent', GRPC_CALL_MS: '500', ...env },
  );

const clientOf = (url: string, tls?: ConstructorParameters<typeof GrpcClient>[0]['tls']) =>
  new GrpcClient({ name: 'door', url, ...AGENTS, tls });
const until = async (probe: () => boolean | Promise<boolean>) => {
  for (let i = 0; !(await probe()); i += 1) {
    if (i === 1000) throw new Error('it did not happen');
    await sleep(10);
  }
};

beforeAll(async () => {
  service = await start();
  client = clientOf(service.grpcUrl!);
});
afterAll(async () => {
  client?.close();
  await service?.stop();
});
beforeEach(() => {
  calls = [];
  [produced, ended] = [0, 0];
});

/** A call with grpc-js alone, for what `GrpcClient` does not do: the raw failure, raw bytes, no deadline. */
function raw(
  path: string,
  bytes: Buffer,
  options: { deadline?: number } = {},
): Promise<ServiceError | Buffer> {
  const bare = new Client(new URL(service.grpcUrl!).host, credentials.createInsecure());
  const same = (message: Buffer) => message;
  return new Promise<ServiceError | Buffer>((resolve) => {
    bare.makeUnaryRequest(path, same, same, bytes, new Metadata(), options, (error, answer) =>
      resolve(error ?? answer!),
    );
  }).finally(() => bare.close());
}

describe('errors', () => {
  it.each<[number, status, string?]>([
    [400, status.INVALID_ARGUMENT],
    [401, status.UNAUTHENTICATED],
    [403, status.PERMISSION_DENIED],
    [404, status.NOT_FOUND],
    [408, status.DEADLINE_EXCEEDED],
    [409, status.FAILED_PRECONDITION],
    [409, status.ABORTED, 'idempotency-key-in-flight'],
    [409, status.ALREADY_EXISTS, 'task-id-taken'],
    [413, status.RESOURCE_EXHAUSTED],
    [422, status.INVALID_ARGUMENT],
    [429, status.RESOURCE_EXHAUSTED],
    [500, status.INTERNAL],
    [503, status.UNAVAILABLE],
    [504, status.DEADLINE_EXCEEDED],
  ])('%i is status %i and arrives as the same problem', async (httpStatus, code, name = 'some-code') => {
    const options: ErrorOptions = {
      status: httpStatus,
      errors: [{ field: 'a.b', message: 'must be ünlike' }],
      headers: { ratelimit: '"a";r=0;t=5' },
    };
    failure =
      httpStatus >= 500 || httpStatus === 429
        ? new RetryableError(name, 'Why it failed: größer', { ...options, retryAfterMs: 1500 })
        : new TerminalError(name, 'Why it failed: größer', options);
    const answered = (await raw('/agents.v1.AgentService/GetTask', Buffer.alloc(0))) as ServiceError;
    expect(answered).toMatchObject({ code, details: 'Why it failed: größer' });
    const arrived = await client.unary('GetTask', {}, TIMEOUT).catch((error: BatonError) => error);
    expect(arrived).toBeInstanceOf(BatonError);
    const { message, errors, headers } = arrived as BatonError;
    expect(arrived).toMatchObject({ code: name, status: httpStatus });
    expect({ message, errors, headers }).toEqual({
      message: 'Why it failed: größer',
      errors: options.errors,
      headers: options.headers,
    });
    expect((arrived as RetryableError).retryAfterMs).toBe(
      failure instanceof RetryableError ? 2000 : undefined,
    );
  });

  it('tells nothing of an error that nobody foresaw', async () => {
    failure = new Error('password=secret');
    const answered = (await raw('/agents.v1.AgentService/GetTask', Buffer.alloc(0))) as ServiceError;
    expect(answered.code).toBe(status.INTERNAL);
    expect(JSON.stringify([answered.details, answered.metadata.toJSON()])).not.toContain('secret');
    await expect(client.unary('GetTask', {}, TIMEOUT)).rejects.toMatchObject({
      code: 'internal',
      status: 500,
    });
  });

  it('names every wrong field', async () => {
    await expect(client.unary('ListTasks', { limit: -1 }, TIMEOUT)).rejects.toMatchObject({
      code: 'validation',
      errors: expect.arrayContaining([expect.objectContaining({ field: 'max_steps' })]) as unknown,
    });
  });

  it('INVALID_ARGUMENT for bytes that are no message, for NUL and for invalid UTF-8', async () => {
    const prompt = (...bytes: number[]) => Buffer.from([0x1a, bytes.length, ...bytes]);
    for (const bytes of [Buffer.from([0x0f]), prompt(0x61, 0), prompt(0xc3, 0x28), prompt(0xff)])
      expect(await raw('/agents.v1.AgentService/SubmitTask', bytes)).toMatchObject({
        code: status.INVALID_ARGUMENT,
      });
    // The character that stands for invalid UTF-8 may be meant.
    const replacement = Buffer.from('\ufffd');
    expect(await raw('/agents.v1.AgentService/SubmitTask', prompt(...replacement))).toBeInstanceOf(Buffer);
  });

  it('RESOURCE_EXHAUSTED for a message above 1 MiB, and none below', async () => {
    const send = (length: number) => client.unary('SubmitTask', { prompt: 'x'.repeat(length) }, TIMEOUT);
    await expect(send(1_048_000)).resolves.toMatchObject({ task_id: 't' });
    const path = '/agents.v1.AgentService/SubmitTask';
    expect(await raw(path, Buffer.alloc(1_048_577))).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    await expect(send(2_000_000)).rejects.toMatchObject({ code: 'message-too-large' });
  });

  it('UNIMPLEMENTED for what the service does not have', async () => {
    expect(await raw('/agents.v1.AgentService/Nothing', Buffer.alloc(0))).toMatchObject({
      code: status.UNIMPLEMENTED,
    });
  });
});

describe('the end of a call', () => {
  let logged: Record<'error' | 'warn' | 'debug', jest.SpyInstance>;
  beforeEach(() => {
    const logger = service.app.get<Logger>(LOGGER);
    logged = {
      error: jest.spyOn(logger, 'error'),
      warn: jest.spyOn(logger, 'warn'),
      debug: jest.spyOn(logger, 'debug'),
    };
  });
  afterEach(() => jest.restoreAllMocks());
  /** The handler raises its error after the call has ended. */
  const expectNoFailure = async () => {
    await until(() => logged.debug.mock.calls.length > 0);
    expect(logged.debug).toHaveBeenCalledWith({ code: 'gave-up' }, expect.stringContaining('nobody waits'));
    for (const level of ['error', 'warn'] as const) expect(logged[level]).not.toHaveBeenCalled();
  };

  it("is the client's deadline", async () => {
    await expect(client.unary('RunTask', {}, { timeoutMs: 1500 })).rejects.toMatchObject({
      code: 'timeout',
      status: 504,
    });
    await until(() => ended === 1);
    await until(() => calls[0]!.remainingMs === 0);
    await expectNoFailure();
  });

  it("without a deadline is the server's", async () => {
    const answered = (await raw('/agents.v1.AgentService/RunTask', Buffer.alloc(0))) as ServiceError;
    expect(answered.code).toBe(status.DEADLINE_EXCEEDED);
    expect(calls[0]!.remainingMs).toBeNull();
    await until(() => ended === 1);
    await expectNoFailure();
  });

  it('with a longer deadline is not', async () => {
    const answer = client.unary('RunTask', {}, { timeoutMs: 1500 });
    const late = answer.catch(() => 'late');
    expect(await Promise.race([late, sleep(1000, 'still waiting')])).toBe('still waiting');
    expect(await late).toBe('late');
  });

  it('is its cancellation', async () => {
    const cancelled = new AbortController();
    const answer = client.unary('RunTask', {}, { ...TIMEOUT, signal: cancelled.signal });
    await until(() => calls.length === 1);
    cancelled.abort(new Error('changed my mind'));
    await expect(answer).rejects.toThrow('changed my mind');
    await until(() => ended === 1);
    await expectNoFailure();
  });

  it.each([
    new RetryableError('database-unavailable', 'away'),
    new RetryableError('draining', 'This instance is stopping'),
  ])('with $code, while its caller waits, is a warning without a stack', async (away) => {
    failure = away;
    await expect(client.unary('GetTask', {}, TIMEOUT)).rejects.toMatchObject({ status: 503 });
    expect(logged.warn.mock.calls).toEqual([[{ code: away.code, err: away.message }, 'request failed']]);
    expect(logged.error).not.toHaveBeenCalled();
  });

  it('is no failure, but a bug stays one, and so does what is wrong with the service', async () => {
    failure = new TerminalError('configuration', 'wrong');
    await expect(client.unary('GetTask', {}, TIMEOUT)).rejects.toMatchObject({ status: 500 });
    const codes = () => logged.error.mock.calls.map(([fields]) => (fields as { code: string }).code);
    expect(codes()).toEqual(['configuration']);
    failure = new TypeError('a bug');
    const cancelled = new AbortController();
    const answer = client.unary('CancelTask', {}, { ...TIMEOUT, signal: cancelled.signal });
    await until(() => calls.length === 1);
    cancelled.abort(new Error('changed my mind'));
    await expect(answer).rejects.toThrow('changed my mind');
    await until(() => codes().length === 2);
    expect(codes()[1]).toBe('internal');
  });
});

describe('a stream', () => {
  const open = (count: number, more = {}) =>
    client.stream<agentsV1.StepEvent>('StreamSteps', { max_steps: count }, { ...TIMEOUT, ...more });

  it('brings every message in order', async () => {
    const seen: number[] = [];
    for await (const { sequence } of await open(200)) seen.push(sequence);
    expect(seen).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  });

  it('waits for a slow reader instead of filling the memory', async () => {
    const stream = await open(5000);
    await stream.next();
    await sleep(500);
    const before = produced;
    await sleep(500);
    // 5,000 messages are 320 MB; what is under way is bounded by the windows of HTTP/2 and the streams of both sides.
    expect(produced).toBe(before);
    expect(produced).toBeLessThan(200);
    await stream.return(undefined);
    await until(() => ended === 1);
  });

  it('that breaks off tells why, after everything that came before', async () => {
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { sequence } of await open(1_000_000)) seen.push(sequence);
    })();
    await expect(reading).rejects.toMatchObject({ code: 'draining', retryable: true });
    expect(seen).toEqual([1, 2, 3]);
  });

  it('ends at the server when its reader leaves', async () => {
    for await (const { sequence } of await open(100_000)) if (sequence === 5) break;
    await until(() => ended === 1);
    expect(produced).toBeLessThan(100_000);
  });
});

describe('grpc.health.v1 and reflection', () => {
  const opened: Client[] = [];
  afterAll(() => opened.forEach((bare) => bare.close()));

  const healthOf = (running: RunningService) => {
    const definition = loadSync(healthProto, loaderOptions())['grpc.health.v1.Health'] as ServiceDefinition;
    const check = definition['Check']!;
    const bare = new Client(new URL(running.grpcUrl!).host, credentials.createInsecure());
    opened.push(bare);
    return async (name: string): Promise<string> =>
      new Promise((resolve, reject) =>
        bare.makeUnaryRequest(
          check.path,
          check.requestSerialize,
          check.responseDeserialize,
          { service: name },
          (error, answer) => (error ? reject(error) : resolve((answer as { status: string }).status)),
        ),
      );
  };

  it('follows the readiness, for the server and for the service, and ends with the drain', async () => {
    const own = await start();
    const check = healthOf(own);
    let broken = false;
    own.app.get(Readiness).add({
      name: 'postgres',
      check: () => (broken ? Promise.reject(new Error('away')) : Promise.resolve()),
      fix: 'start it',
    });
    for (const name of ['', AGENTS.service]) await until(async () => (await check(name)) === 'SERVING');
    broken = true;
    for (const name of ['', AGENTS.service]) await until(async () => (await check(name)) === 'NOT_SERVING');
    broken = false;
    await until(async () => (await check('')) === 'SERVING');
    await expect(check('nobody')).rejects.toMatchObject({ code: status.NOT_FOUND });
    await own.stop();
    await expect(check('')).rejects.toMatchObject({ code: status.UNAVAILABLE });
  });

  it('tells watchers what changes', async () => {
    const own = await start();
    let broken = false;
    own.app.get(Readiness).add({
      name: 'postgres',
      check: () => (broken ? Promise.reject(new Error('away')) : Promise.resolve()),
      fix: 'start it',
    });
    const definition = loadSync(healthProto, loaderOptions())['grpc.health.v1.Health'] as ServiceDefinition;
    const { path, requestSerialize, responseDeserialize } = definition['Watch']!;
    const bare = new Client(new URL(own.grpcUrl!).host, credentials.createInsecure());
    opened.push(bare);
    const seen: string[] = [];
    bare
      .makeServerStreamRequest(path, requestSerialize, responseDeserialize, { service: AGENTS.service })
      .on('data', (answer: { status: string }) => seen.push(answer.status))
      .on('error', () => undefined);
    await until(() => seen.length === 1);
    broken = true;
    await until(() => seen.length === 2);
    broken = false;
    await until(() => seen.length === 3);
    await own.stop();
    await until(() => seen.length === 4);
    expect(seen).toEqual(['SERVING', 'NOT_SERVING', 'SERVING', 'NOT_SERVING']);
  });

  it('lists the services', async () => {
    const path = require.resolve('@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto');
    const loaded = loadSync(path, loaderOptions())[
      'grpc.reflection.v1.ServerReflection'
    ] as ServiceDefinition;
    const info = loaded['ServerReflectionInfo']!;
    const bare = new Client(new URL(service.grpcUrl!).host, credentials.createInsecure());
    const call = bare.makeBidiStreamRequest(info.path, info.requestSerialize, info.responseDeserialize);
    const answer = new Promise<{ list_services_response: { service: Array<{ name: string }> } }>(
      (resolve, reject) => call.on('data', resolve).on('error', reject),
    );
    call.write({ list_services: '' });
    const names = (await answer).list_services_response.service.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([AGENTS.service, 'grpc.health.v1.Health']));
    call.end();
    bare.close();
  });
});

describe('TLS', () => {
  let folder: string;
  let files: Record<'ca' | 'server' | 'client' | 'stranger', { cert: string; key: string }>;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'baton-tls-'));
    const write = (name: string, pems: { cert: string; private: string }) => {
      const paths = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
      writeFileSync(paths.cert, pems.cert);
      writeFileSync(paths.key, pems.private);
      return paths;
    };
    const authority: SelfsignedOptions = {
      keyType: 'ec',
      algorithm: 'sha256',
      extensions: [{ name: 'basicConstraints', cA: true }],
    };
    const ca = await generate([{ name: 'commonName', value: 'ca' }], authority);
    const issue = (name: string) =>
      generate([{ name: 'commonName', value: name }], {
        keyType: 'ec',
        algorithm: 'sha256',
        ca: { key: ca.private, cert: ca.cert },
        extensions: [{ name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] }],
      });
    files = {
      ca: write('ca', ca),
      server: write('server', await issue('server')),
      client: write('client', await issue('client')),
      stranger: write('stranger', await generate([{ name: 'commonName', value: 'stranger' }], authority)),
    };
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const own = (name: 'server' | 'client' | 'stranger') => ({
    GRPC_TLS_CERT: files[name].cert,
    GRPC_TLS_KEY: files[name].key,
  });
  const ask = async (url: string, tls: ConstructorParameters<typeof GrpcClient>[0]['tls']) => {
    const secured = clientOf(url, tls);
    return secured
      .unary<agentsV1.TaskResponse>('SubmitTask', { prompt: 'hi' }, TIMEOUT)
      .finally(() => secured.close());
  };
  const none = { GRPC_TLS_CERT: '', GRPC_TLS_KEY: '', GRPC_TLS_CA: '' };

  it('serves clients that trust its authority, and nobody without TLS', async () => {
    const secured = await start(own('server'));
    try {
      expect(secured.grpcUrl).toMatch(/^grpcs:/);
      const trusting = { ...none, GRPC_TLS_CA: files.ca.cert };
      await expect(ask(secured.grpcUrl!, trusting)).resolves.toMatchObject({ output: 'hi' });
      await expect(ask(secured.grpcUrl!, none)).rejects.toMatchObject({ code: 'unreachable' });
      await expect(ask(secured.grpcUrl!.replace('grpcs', 'grpc'), none)).rejects.toMatchObject({
        code: 'unreachable',
      });
    } finally {
      await secured.stop();
    }
  });

  it('with GRPC_TLS_CA asks its clients for a certificate of that authority', async () => {
    const mutual = await start({ ...own('server'), GRPC_TLS_CA: files.ca.cert });
    try {
      const trusting = { ...none, GRPC_TLS_CA: files.ca.cert };
      await expect(ask(mutual.grpcUrl!, { ...trusting, ...own('client') })).resolves.toMatchObject({
        output: 'hi',
      });
      await expect(ask(mutual.grpcUrl!, trusting)).rejects.toMatchObject({ code: 'unreachable' });
      await expect(ask(mutual.grpcUrl!, { ...trusting, ...own('stranger') })).rejects.toMatchObject({
        code: 'unreachable',
      });
    } finally {
      await mutual.stop();
    }
  });

  it.each([
    [{ GRPC_TLS_CERT: 'a.pem' }, /go together/],
    [{ GRPC_TLS_CA: 'ca.pem' }, /GRPC_TLS_CA needs/],
    [{ GRPC_TLS_CERT: 'nowhere.pem', GRPC_TLS_KEY: 'nowhere.key' }, /GRPC_TLS_KEY.*nowhere/],
  ])('refuses %j at the start', async (env, reason) => {
    await expect(start(env)).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(reason) as string,
    });
  });
});

it('a client that was there before a restart reaches the service soon after it', async () => {
  const first = await start();
  const port = new URL(first.grpcUrl!).port;
  const waiting = clientOf(first.grpcUrl!);
  const ask = () => waiting.unary('SubmitTask', { prompt: 'x' }, TIMEOUT);
  await ask();
  await first.stop();
  await expect(ask()).rejects.toMatchObject({ code: 'unreachable', status: 503 });
  await sleep(1500);
  const second = await start({ GRPC_PORT: port });
  const since = performance.now();
  await until(() =>
    ask().then(
      () => true,
      () => false,
    ),
  );
  expect(performance.now() - since).toBeLessThan(5000);
  waiting.close();
  await second.stop();
});

it('a port that is taken is told at the start', async () => {
  await expect(start({ GRPC_PORT: new URL(service.grpcUrl!).port })).rejects.toThrow(
    /bind|EADDRINUSE|address/i,
  );
});
