import {
  credentials,
  makeClientConstructor,
  Metadata,
  status,
  type CallOptions,
  type ChannelOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  type MethodDefinition,
  type ServiceDefinition as GrpcServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { TerminalError } from '#libs/contracts';
import { MAX_SENT } from './grpc-door.js';
import { errorOf } from './problem-status.js';
import { loaderOptions, protoFile } from './proto.js';
import { channelCredentials, type GrpcTls } from './tls.js';

export interface GrpcTarget {
  /** Who is called, for messages: `agent-search`. */
  name: string;
  /** `grpc://host:port`, or `grpcs://` with TLS. Of a name with several addresses all are used in turn. */
  url: string;
  /** Full name of the service, e.g. `agents.v1.AgentService`. */
  service: string;
  /** Below `proto/`. */
  protoPath: string;
  /** Needed for `grpcs://`. */
  tls?: GrpcTls;
}

export interface GrpcCallOptions {
  /** Sent as they are; names in lower case. */
  metadata?: Record<string, string>;
  /** Milliseconds; the deadline that the other side sees. Infinity: none. */
  timeoutMs: number;
  signal?: AbortSignal;
}

/** Reconnects soon after a restart; notices within 15 s that the other side has gone silent. */
const CHANNEL: ChannelOptions = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5000,
  'grpc.max_receive_message_length': MAX_SENT,
  // Nobody asks for its statistics, and every call pays for them.
  'grpc.enable_channelz': 0,
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
};

/** Checks `url` without connecting. @throws TerminalError `configuration` */
export function grpcAddress(url: string): { address: string; isSecure: boolean } {
  const [, scheme, address] = /^(grpcs?):\/\/([^/\s]+:\d{1,5})\/?$/.exec(url) ?? [];
  if (!address)
    throw new TerminalError('configuration', `"${url}" is not grpc://host:port or grpcs://host:port`);
  return { address, isSecure: scheme === 'grpcs' };
}

/**
 * Calls of one gRPC service: one connection per address, deadline, no retries but those of calls that never left. A failure is raised
 * as the error that the other side raised (see `errorOf`); an address that cannot be reached as `RetryableError` `unreachable`, a
 * passed deadline as `RetryableError` `timeout`.
 */
export class GrpcClient {
  private readonly client: InstanceType<ReturnType<typeof makeClientConstructor>>;
  private readonly methods: GrpcServiceDefinition;
  private readonly name: string;

  constructor({ name, url, service, protoPath, tls }: GrpcTarget) {
    const { address, isSecure } = grpcAddress(url);
    this.name = name;
    this.methods = loadSync(protoFile(protoPath), loaderOptions())[service] as GrpcServiceDefinition;
    if (!this.methods) throw new TerminalError('configuration', `${protoPath} has no ${service}`);
    const secured = isSecure
      ? channelCredentials(tls ?? { GRPC_TLS_CERT: '', GRPC_TLS_KEY: '', GRPC_TLS_CA: '' })
      : credentials.createInsecure();
    this.client = new (makeClientConstructor(this.methods, service))(address, secured, CHANNEL);
  }

  unary<T>(method: string, request: object, options: GrpcCallOptions): Promise<T> {
    const { path, requestSerialize, responseDeserialize } = this.method(method);
    return new Promise((resolve, reject) => {
      const call: ClientUnaryCall = this.client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize as (bytes: Buffer) => T,
        request,
        metadataOf(options),
        callOptionsOf(options),
        (failure, answer) => {
          stop();
          if (failure) reject(this.raised(failure, options));
          else resolve(answer as T);
        },
      );
      const stop = cancelOn(options.signal, call);
    });
  }

  /**
   * Resolves when the other side has begun to answer. The messages come as fast as they are read; leaving the loop cancels the call.
   */
  async stream<T>(method: string, request: object, options: GrpcCallOptions): Promise<AsyncGenerator<T>> {
    const { path, requestSerialize, responseDeserialize } = this.method(method);
    const call: ClientReadableStream<T> = this.client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize as (bytes: Buffer) => T,
      request,
      metadataOf(options),
      callOptionsOf(options),
    );
    const stop = cancelOn(options.signal, call);
    try {
      await new Promise((resolve, reject) => {
        call.once('metadata', resolve);
        // Stays, because a stream that nobody reads yet may break.
        call.on('error', reject);
      });
    } catch (failure) {
      stop();
      throw this.raised(failure, options);
    }
    return this.messages(call, options, stop);
  }

  private async *messages<T>(
    call: ClientReadableStream<T>,
    options: GrpcCallOptions,
    stop: () => void,
  ): AsyncGenerator<T> {
    try {
      for await (const message of call) yield message as T;
    } catch (failure) {
      throw this.raised(failure, options);
    } finally {
      stop();
      call.cancel();
    }
  }

  close(): void {
    this.client.close();
  }

  private method(name: string): MethodDefinition<object, unknown> {
    return this.methods[name] as MethodDefinition<object, unknown>;
  }

  private raised(failure: unknown, { signal }: GrpcCallOptions): unknown {
    if (signal?.aborted) return signal.reason;
    const isStatus =
      typeof (failure as ServiceError).code === 'number' && (failure as ServiceError).code in status;
    return isStatus ? errorOf(failure as ServiceError, this.name) : failure;
  }
}

function metadataOf({ metadata = {} }: GrpcCallOptions): Metadata {
  const sent = new Metadata();
  for (const [name, value] of Object.entries(metadata)) sent.set(name, value);
  return sent;
}

const callOptionsOf = ({ timeoutMs }: GrpcCallOptions): CallOptions => ({ deadline: Date.now() + timeoutMs });

function cancelOn(signal: AbortSignal | undefined, call: { cancel(): void }): () => void {
  const cancel = () => call.cancel();
  if (signal?.aborted) cancel();
  else signal?.addEventListener('abort', cancel, { once: true });
  return () => signal?.removeEventListener('abort', cancel);
}
