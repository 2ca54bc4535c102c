import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

export interface ExchangeRequest {
  method: Dispatcher.HttpMethod;
  headers: Record<string, string>;
  body: string | undefined;
  /** Milliseconds until the whole answer has to be there. */
  timeoutMs: number;
  signal: AbortSignal | undefined;
  /** Bytes of the answer that are read; of a longer one the beginning stays. */
  maxBytes: number;
  /** False for a status that says all: the body is not waited for. Every body is wanted by default. */
  wantsBody?: (status: number) => boolean;
}

export interface Exchanged {
  status: number;
  headers: IncomingHttpHeaders;
  /** At most `maxBytes` and the chunk that went beyond. */
  bytes: Buffer;
  /** True when the answer was longer than that, or not wanted: the rest was not read, the connection is gone. */
  truncated: boolean;
}

/** The reason of an exchange that took longer than its `timeoutMs`. */
export class ExchangeTimeout extends Error {}

/**
 * One request and its whole answer, redirects not followed. Speaks to undici's dispatcher itself: `undici.request` would make a
 * stream and a signal for each, which cost as much as all the rest of a short exchange.
 * @throws ExchangeTimeout, the signal's reason, or undici's error of the connection
 */
export function exchange(
  dispatcher: Dispatcher,
  url: string,
  { method, headers, body, timeoutMs, signal, ...limits }: ExchangeRequest,
): Promise<Exchanged> {
  return new Promise((resolve, reject) => {
    const { origin, pathname, search } = new URL(url);
    const handler = new Answer(limits, (error, exchanged) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
      if (exchanged) resolve(exchanged);
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- a signal's reason is the caller's own
      else reject(error);
    });
    const timer = setTimeout(() => handler.end(new ExchangeTimeout()), timeoutMs);
    const cancel = () => handler.end(signal!.reason);
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    else dispatcher.dispatch({ origin, path: pathname + search, method, headers, body }, handler);
  });
}

type Settle = (error: unknown, exchanged?: Exchanged) => void;

/** Gathers the answer. Whatever ends first, answer, error, time or caller, settles; what comes later finds it settled. */
class Answer implements Dispatcher.DispatchHandler {
  private readonly chunks: Buffer[] = [];
  private size = 0;
  private status = 0;
  private headers: IncomingHttpHeaders = {};
  private settled = false;
  private controller?: Dispatcher.DispatchController;

  constructor(
    private readonly limits: Pick<ExchangeRequest, 'maxBytes' | 'wantsBody'>,
    private readonly settle: Settle,
  ) {}

  /** Settles with `error`, and breaks off what is under way; a request that waits for its connection is not sent any more. */
  end(error: unknown, exchanged?: Exchanged): void {
    if (this.settled) return;
    this.settled = true;
    this.settle(error, exchanged);
    this.controller?.abort(new Error('nobody waits for this answer'));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.settled) controller.abort(new Error('nobody waits for this answer'));
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    this.status = status;
    this.headers = headers;
    // Informational answers come before the answer.
    if (status >= 200 && this.limits.wantsBody?.(status) === false) this.end(undefined, this.exchanged(true));
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.chunks.push(chunk);
    this.size += chunk.length;
    if (this.size > this.limits.maxBytes) this.end(undefined, this.exchanged(true));
  }

  onResponseEnd(): void {
    this.controller = undefined;
    this.end(undefined, this.exchanged(false));
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.controller = undefined;
    this.end(error);
  }

  private exchanged(truncated: boolean): Exchanged {
    const bytes = this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks);
    return { status: this.status, headers: this.headers, bytes, truncated };
  }
}
