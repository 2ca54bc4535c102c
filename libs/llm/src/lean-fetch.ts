import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

/**
 * A `fetch` for the `openai` SDK over `dispatcher`: JSON bodies, no redirects, no decompression, no caching. It speaks to undici's
 * dispatcher itself: the streams and signals of `fetch` and `undici.request` cost more than all the rest of a call.
 */
export function leanFetch(dispatcher: Dispatcher): typeof fetch {
  const send = (url: string | URL, init: RequestInit = {}): Promise<LeanResponse> =>
    new Promise((resolve, reject) => {
      const { href, origin, pathname, search } = new URL(url);
      const body = new StreamedBody(
        (status, headers) => resolve(new LeanResponse(href, status, headers, body)),
        reject,
      );
      const { signal } = init;
      const cancel = () => body.fail(signal!.reason);
      if (signal?.aborted) return cancel();
      signal?.addEventListener('abort', cancel, { once: true });
      const request = {
        origin,
        path: pathname + search,
        method: (init.method ?? 'GET') as Dispatcher.HttpMethod,
        headers: Object.fromEntries(init.headers as Headers),
        body: init.body as string | undefined,
      };
      dispatcher.dispatch(request, body);
    });
  return send as unknown as typeof fetch;
}

/** What the `openai` SDK uses of a fetch response; `body` is any async iterable. */
class LeanResponse {
  readonly ok: boolean;
  readonly headers = new Headers();

  constructor(
    readonly url: string,
    readonly status: number,
    headers: IncomingHttpHeaders,
    readonly body: StreamedBody,
  ) {
    this.ok = status >= 200 && status < 300;
    for (const [name, value] of Object.entries(headers))
      if (value !== undefined) this.headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }

  async text(): Promise<string> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.body) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }
}

/** The bytes of an answer as they come, for one reader. It does not hold back the sender: the reader of a model is never slow. */
class StreamedBody implements Dispatcher.DispatchHandler, AsyncIterable<Buffer> {
  private chunks: Buffer[] = [];
  private hasEnded = false;
  private failure: { reason: unknown } | null = null;
  private wake: () => void = () => undefined;
  private controller?: Dispatcher.DispatchController;

  constructor(
    private readonly begun: (status: number, headers: IncomingHttpHeaders) => void,
    private readonly refused: (reason: unknown) => void,
  ) {}

  /** Ends what is under way; a request that waits for its connection is not sent any more. */
  fail(reason: unknown): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.failure = { reason };
    this.refused(reason);
    this.controller?.abort(new Error('nobody reads this answer'));
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    try {
      for (;;) {
        const { chunks } = this;
        this.chunks = [];
        yield* chunks;
        if (this.failure) throw this.failure.reason;
        if (this.chunks.length > 0) continue;
        if (this.hasEnded) return;
        await new Promise<void>((resolve) => (this.wake = resolve));
      }
    } finally {
      this.fail(new Error('the reader left'));
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.hasEnded) controller.abort(new Error('nobody reads this answer'));
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // Informational answers come before the answer.
    if (status >= 200) this.begun(status, headers);
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.chunks.push(chunk);
    this.wake();
  }

  onResponseEnd(): void {
    this.hasEnded = true;
    this.wake();
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.controller = undefined;
    this.fail(error);
  }
}
