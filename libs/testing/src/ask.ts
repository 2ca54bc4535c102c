import type { Problem } from '#libs/contracts';

export interface Asked {
  status: number;
  headers: Headers;
  /** Empty when the answer is no JSON. */
  body: Partial<Omit<Problem, 'status'>> & Record<string, unknown>;
}

/** One request to any door; every answer is returned, refusals too. @param token null sends none */
export async function ask(
  url: string,
  token: string | null,
  {
    method = 'GET',
    headers = {},
    body,
  }: { method?: string; headers?: Record<string, string>; body?: object } = {},
): Promise<Asked> {
  const response = await fetch(url, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  const isJson = (response.headers.get('content-type') ?? '').includes('json');
  return {
    status: response.status,
    headers: response.headers,
    body: (isJson ? JSON.parse(text) : {}) as Asked['body'],
  };
}
