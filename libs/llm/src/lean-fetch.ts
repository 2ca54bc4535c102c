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
        headers:
          init.headers instanceof Headers
            ? Object.fromEntries(init.headers)
            : (init.headers as Record<string, string>),
        body: init.body as string | undefined,
      };
      dispatcher.dispatch(request, body);
    });
  return send as unknown as typeof fetch;
}

/** What the `openai` SDK uses of a fetch response; its `body` is a `ByteSource`. */
class LeanResponse {
  readonly ok: boolean;
  /** Has of `Headers` what the SDK asks for. */
  readonly headers = new Map<string, string>();

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
    await this.body.read((chunk) => void chunks.push(chunk));
    return Buffer.concat(chunks).toString();
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }
}

/** Bytes for one reader. */
export interface ByteSource {
  /**
   * Hands over the bytes as they come; resolves after the last.
   * @throws what broke the stream; what `take` throws, and then no more is read
   */
  read(take: (chunk: Buffer) => void): Promise<void>;
}

/** An answer on its way. It does not hold back the sender: the reader of a model is never slow. */
class StreamedBody implements Dispatcher.DispatchHandler, ByteSource {
  /** What came before there was a reader. */
  private early: Buffer[] = [];
  private take?: (chunk: Buffer) => void;
  private finished?: () => void;
  private failed: (reason: unknown) => void;
  private hasEnded = false;
  private failure: { reason: unknown } | null = null;
  private controller?: Dispatcher.DispatchController;

  constructor(
    private readonly begun: (status: number, headers: IncomingHttpHeaders) => void,
    refused: (reason: unknown) => void,
  ) {
    this.failed = refused;
  }

  /** Ends what is under way; a request that waits for its connection is not sent any more. */
  fail(reason: unknown): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.failure = { reason };
    this.failed(reason);
    this.controller?.abort(new Error('nobody reads this answer'));
  }

  async read(take: (chunk: Buffer) => void): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.take = take;
        this.finished = resolve;
        this.failed = reject;
        for (const chunk of this.early) take(chunk);
        if (this.failure) throw this.failure.reason;
        if (this.hasEnded) resolve();
      });
    } catch (error) {
      this.fail(error);
      throw error;
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
    if (this.hasEnded) return;
    try {
      if (this.take) this.take(chunk);
      else this.early.push(chunk);
    } catch (error) {
      this.fail(error);
    }
  }

  onResponseEnd(): void {
    this.hasEnded = true;
    this.finished?.();
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.controller = undefined;
    this.fail(error);
  }
}
