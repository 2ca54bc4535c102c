import { request, type Dispatcher } from 'undici';

/**
 * What the `openai` SDK uses of a fetch response. The body is Node's own stream: the SDK reads any async
 * iterable, so no byte passes through web streams, which cost more than the request itself.
 */
class LeanResponse {
  readonly ok: boolean;
  readonly headers: Headers;

  constructor(
    readonly url: string,
    readonly status: number,
    headers: Dispatcher.ResponseData['headers'],
    readonly body: Dispatcher.ResponseData['body'],
  ) {
    this.ok = status >= 200 && status < 300;
    this.headers = new Headers();
    for (const [name, value] of Object.entries(headers))
      if (value !== undefined) this.headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }

  text(): Promise<string> {
    return this.body.text();
  }

  json(): Promise<unknown> {
    return this.body.json();
  }
}

/** A `fetch` for the `openai` SDK over `dispatcher`: JSON bodies, no redirects, no decompression, no caching. */
export function leanFetch(dispatcher: Dispatcher): typeof fetch {
  const send = async (url: string | URL, init: RequestInit = {}): Promise<LeanResponse> => {
    const { statusCode, headers, body } = await request(url, {
      dispatcher,
      method: (init.method ?? 'GET') as Dispatcher.HttpMethod,
      headers: Object.fromEntries(init.headers as Headers),
      body: init.body as string | undefined,
      signal: init.signal,
    });
    return new LeanResponse(String(url), statusCode, headers, body);
  };
  return send as unknown as typeof fetch;
}
