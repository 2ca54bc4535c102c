import { once } from 'node:events';
import type { Metadata, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { Observable } from 'rxjs';

export type Call = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

/** A call that a `@GrpcMethod` answers. */
export class IncomingCall {
  private readonly left = new AbortController();

  constructor(private readonly call: Call) {
    if (call.cancelled) this.left.abort();
    else call.once('cancelled', () => this.left.abort());
  }

  /** Aborts when the client cancels or vanishes, when the deadline passes, and after the call has ended. */
  get signal(): AbortSignal {
    return this.left.signal;
  }

  /** Aborts with the call or with `other`. */
  signalOr(other: AbortSignal): AbortSignal {
    const either = new AbortController();
    const abort = () => {
      either.abort();
      other.removeEventListener('abort', abort);
    };
    // The call's own always aborts in the end, so nothing stays behind at a signal that lives as long as the process.
    this.signal.addEventListener('abort', abort, { once: true });
    other.addEventListener('abort', abort, { once: true });
    if (this.signal.aborted || other.aborted) abort();
    return either.signal;
  }

  /** Milliseconds until the client's deadline; null when it named none. */
  get remainingMs(): number | null {
    const deadline = this.call.getDeadline();
    return deadline === Infinity ? null : Math.max(0, Number(deadline) - Date.now());
  }

  /** A value of the client's metadata. */
  header(name: string): string | null {
    return this.call.metadata.get(name)[0]?.toString() ?? null;
  }

  /** Sends the initial metadata at once. */
  begin(metadata: Metadata): void {
    if (!this.signal.aborted) this.call.sendMetadata(metadata);
  }

  /**
   * The answer of a streaming call. Nest keeps what a slow reader has not taken in an unbounded list; here the next item is asked
   * for once the one before was taken.
   */
  answer<T>(items: AsyncIterable<T>): Observable<T> {
    const call = this.call as ServerWritableStream<unknown, T>;
    const { signal } = this;
    return new Observable<T>((reader) => {
      const send = async (): Promise<void> => {
        for await (const item of items) {
          if (signal.aborted) return;
          reader.next(item);
          if (call.writableNeedDrain) await once(call, 'drain', { signal });
        }
      };
      send().then(
        () => reader.complete(),
        (error: unknown) => reader.error(error),
      );
    });
  }
}

/** Timers and the clock of the deadline differ by so much. */
const TIMER_SLACK_MS = 5;

/** Whether nobody waits for a call's answer any more: its client has left, or its deadline has passed. */
export const isAbandoned = (call: Call): boolean =>
  call.cancelled || Number(call.getDeadline()) - Date.now() <= TIMER_SLACK_MS;

/** The gRPC call of the current handler. */
export const GrpcCall = createParamDecorator(
  (_: unknown, context: ExecutionContext): IncomingCall => new IncomingCall(context.getArgByIndex<Call>(2)),
);
