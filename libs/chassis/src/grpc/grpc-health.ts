import {
  status,
  type sendUnaryData,
  type Server,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { service } from 'grpc-health-check';
import type { Readiness } from '../health.js';

type ServingStatus = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';
interface CheckRequest {
  service: string;
}
interface CheckAnswer {
  status: ServingStatus;
}

/** A look at the dependencies is good for so long. */
const FRESH_MS = 1000;

/**
 * `grpc.health.v1`: the status of the server (empty name) and of each service is that of the service's readiness. It is looked at when
 * somebody asks, and for watchers once a second.
 */
export class GrpcHealth {
  private readonly watchers = new Set<() => void>();
  private timer?: NodeJS.Timeout;
  private looked?: { at: number; status: Promise<ServingStatus> };

  constructor(
    private readonly readiness: Readiness,
    private readonly services: string[],
  ) {}

  addTo(server: Server): void {
    server.addService(service as Parameters<Server['addService']>[0], {
      check: (call: ServerUnaryCall<CheckRequest, CheckAnswer>, answer: sendUnaryData<CheckAnswer>) =>
        void this.statusOf(call.request.service).then((current) =>
          current === 'SERVICE_UNKNOWN'
            ? answer({ code: status.NOT_FOUND, details: `There is no service ${call.request.service}` })
            : answer(null, { status: current }),
        ),
      list: (_: unknown, answer: sendUnaryData<{ statuses: Record<string, CheckAnswer> }>) =>
        void this.current().then((current) =>
          answer(null, {
            statuses: Object.fromEntries(['', ...this.services].map((name) => [name, { status: current }])),
          }),
        ),
      watch: (call: ServerWritableStream<CheckRequest, CheckAnswer>) => this.watch(call),
    });
  }

  /** The service is on its way out: watchers are told, and answered no more. */
  stop(): void {
    clearInterval(this.timer);
    for (const tell of this.watchers) tell();
  }

  private watch(call: ServerWritableStream<CheckRequest, CheckAnswer>): void {
    let told: ServingStatus | undefined;
    const tell = () =>
      void this.statusOf(call.request.service).then((current) => {
        if (current === told || call.cancelled) return;
        told = current;
        call.write({ status: current });
      });
    this.watchers.add(tell);
    this.timer ??= setInterval(() => this.watchers.forEach((one) => one()), FRESH_MS).unref();
    call.once('cancelled', () => {
      this.watchers.delete(tell);
      if (this.watchers.size > 0) return;
      clearInterval(this.timer);
      this.timer = undefined;
    });
    tell();
  }

  private async statusOf(name: string): Promise<ServingStatus> {
    return name === '' || this.services.includes(name) ? this.current() : 'SERVICE_UNKNOWN';
  }

  private current(): Promise<ServingStatus> {
    if (this.readiness.isDraining) return Promise.resolve('NOT_SERVING');
    const now = performance.now();
    if (!this.looked || now - this.looked.at > FRESH_MS) {
      const looking = this.readiness
        .missing()
        .then(({ length }) => (length === 0 ? 'SERVING' : 'NOT_SERVING'));
      this.looked = { at: now, status: looking };
    }
    return this.looked.status;
  }
}
