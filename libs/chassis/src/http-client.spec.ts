import { getEventListeners, once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { BatonError, RetryableError, TerminalError } from '#libs/contracts';
import { HttpClient, wasNotSent } from './http-client.js';

let server: Server;
let answer: RequestListener = (_, response) => response.end('{}');
let requests = 0;
let base: string;
const http = new HttpClient();

beforeAll(async () => {
  server = createServer((request, response) => {
    requests += 1;
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await http.close();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => (requests = 0));

const failureOf = async (work: Promise<unknown>): Promise<BatonError> => {
  const error: unknown = await work.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof BatonError)) throw error as Error;
  return error;
};
const answering =
  (status: number, body: string, headers: Record<string, string> = {}): RequestListener =>
  (request, response) => {
    request.resume();
    response.writeHead(status, headers).end(body);
  };
const problem = (status: number, more: object = {}, headers: Record<string, string> = {}) =>
  answering(
    status,
    JSON.stringify({
      type: 'https://baton.dev/problems/x',
      title: 'x',
      status,
      detail: 'why',
      code: 'x-code',
      ...more,
    }),
    {
      'content-type': 'application/problem+json',
      ...headers,
    },
  );

describe('an exchange', () => {
  it('sends JSON and reads JSON', async () => {
    answer = (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () =>
        response.setHeader('x-here', '1').end(
          JSON.stringify({
            method: request.method,
            type: request.headers['content-type'],
            own: request.headers['x-own'],
            body: JSON.parse(Buffer.concat(chunks).toString()) as unknown,
          }),
        ),
      );
    };
    const { status, headers, body } = await http.json(base, {
      method: 'POST',
      body: { a: 'ä' },
      headers: { 'x-own': 'mine' },
    });
    expect({ status, here: headers['x-here'], body }).toEqual({
      status: 200,
      here: '1',
      body: { method: 'POST', type: 'application/json', own: 'mine', body: { a: 'ä' } },
    });
  });

  it('without an answer body has none', async () => {
    answer = answering(204, '');
    expect(await http.json(base)).toMatchObject({ status: 204, body: undefined });
  });

  it('is never repeated by itself', async () => {
    answer = problem(503);
    await failureOf(http.json(base));
    expect(requests).toBe(1);
  });

  it('does not follow redirects', async () => {
    let followed = false;
    answer = (request, response) => {
      followed ||= request.url === '/there';
      response.writeHead(307, { location: '/there' }).end();
    };
    expect(await http.json(base)).toMatchObject({ status: 307 });
    expect(followed).toBe(false);
  });
});

describe('an error answer', () => {
  it.each([400, 401, 403, 404, 409, 413, 415, 422])(
    '%i is final, with code and fields of its problem',
    async (status) => {
      const errors = [{ field: 'a', message: 'b' }];
      answer = problem(status, { errors });
      const error = await failureOf(http.json(base));
      expect(error).toBeInstanceOf(TerminalError);
      expect(error).toMatchObject({ code: 'x-code', message: 'why', status, errors });
    },
  );

  it.each([408, 425, 429, 500, 502, 503, 504])('%i may pass', async (status) => {
    answer = problem(status, {}, { 'retry-after': '7' });
    const error = await failureOf(http.json(base));
    expect(error).toBeInstanceOf(RetryableError);
    expect(error).toMatchObject({ code: 'x-code', status, retryAfterMs: 7000 });
  });

  it('without a problem is named after its status', async () => {
    answer = answering(500, '<html>password=hunter2</html>', { 'content-type': 'text/html' });
    const error = await failureOf(http.json(base));
    expect(error).toMatchObject({ code: 'http-500', retryable: true, retryAfterMs: undefined });
    expect(error.message).not.toContain('hunter2');
  });

  it('whose Retry-After is a date or nonsense is still that error', async () => {
    answer = problem(503, {}, { 'retry-after': 'Wed, 21 Oct 2099 07:28:00 GMT' });
    expect(await failureOf(http.json(base))).toMatchObject({ code: 'x-code', retryAfterMs: undefined });
  });
});

describe('an answer that cannot be used', () => {
  it('because it is no JSON', async () => {
    answer = answering(200, 'hello');
    expect(await failureOf(http.json(base))).toMatchObject({
      code: 'malformed-response',
      status: 502,
      retryable: false,
    });
  });

  it('because its problem is no JSON', async () => {
    answer = answering(503, '{', { 'content-type': 'application/problem+json' });
    expect(await failureOf(http.json(base))).toMatchObject({ status: 503, retryable: true });
  });

  it('because it is too large, and is not read to its end', async () => {
    let sent = 0;
    answer = (_, response) => {
      const push = () => {
        while (!response.destroyed && sent < 50_000_000 && response.write('x'.repeat(65_536))) sent += 65_536;
        if (sent >= 50_000_000) response.end();
        else response.once('drain', push);
      };
      push();
    };
    expect(await failureOf(http.json(base, { maxBytes: 100_000 }))).toMatchObject({
      code: 'response-too-large',
      status: 502,
    });
    expect(sent).toBeLessThan(50_000_000);
  });

  it('of exactly the allowed size is read', async () => {
    answer = answering(200, '"123456"');
    expect(await http.json(base, { maxBytes: 8 })).toMatchObject({ body: '123456' });
  });
});

describe('a service that does not answer', () => {
  it.each([
    ['at all', () => undefined],
    ['to the end', (_: unknown, response: { write(text: string): void }) => response.write('{"a":')],
  ])('%s ends as timeout', async (_, silent) => {
    answer = silent as RequestListener;
    expect(await failureOf(http.json(base, { timeoutMs: 100 }))).toMatchObject({
      code: 'timeout',
      status: 504,
      retryable: true,
    });
  });

  it("ends with the caller's own reason when the caller gives up", async () => {
    answer = () => undefined;
    const reason = new Error('cancelled');
    const caller = new AbortController();
    const work = http.json(base, { signal: caller.signal });
    setTimeout(() => caller.abort(reason), 20);
    await expect(work).rejects.toBe(reason);
    await expect(http.json(base, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it('because it cuts the connection may have got the request', async () => {
    answer = (request) => request.socket.destroy();
    const error = await failureOf(http.json(base, { method: 'POST', body: {} }));
    expect(error).toMatchObject({ code: 'unreachable', retryable: true });
    expect(wasNotSent(error)).toBe(false);
  });

  it('because nobody listens has not got it', async () => {
    const closed = createTcpServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    closed.close();
    await once(closed, 'close');
    const error = await failureOf(http.json(`http://127.0.0.1:${port}/secret?token=1`));
    expect(error).toMatchObject({ code: 'unreachable', status: 503, retryable: true });
    expect(error.message).not.toContain('token');
    expect(wasNotSent(error)).toBe(true);
  });

  it('because its address is none is an error too', async () => {
    expect(await failureOf(http.json('http://host.invalid/'))).toMatchObject({ code: 'unreachable' });
    expect(await failureOf(http.json('not a url'))).toMatchObject({ code: 'unreachable' });
  });
});

describe('an answer as it comes', () => {
  it('is handed on with whatever status it has', async () => {
    answer = answering(404, 'gone');
    expect(await http.bytes(base)).toMatchObject({
      status: 404,
      bytes: Buffer.from('gone'),
      truncated: false,
    });
  });

  it('is cut where it becomes too long, and the client goes on', async () => {
    answer = answering(200, 'x'.repeat(1000));
    const { bytes, truncated } = await http.bytes(base, { maxBytes: 10 });
    expect([truncated, bytes.subarray(0, 10).toString()]).toEqual([true, 'x'.repeat(10)]);
    expect(await http.bytes(base, { maxBytes: 1000 })).toMatchObject({ truncated: false });
  });
});

describe('an exchange that is broken off', () => {
  const endless: RequestListener = (_, response) => void response.write('x'.repeat(1000));
  it.each<[string, RequestListener, (signal: AbortSignal, left: () => void) => Promise<unknown>]>([
    ['at its deadline', endless, (signal) => http.json(base, { timeoutMs: 50, signal })],
    ['by its caller', endless, (signal, left) => (setTimeout(left, 50), http.json(base, { signal }))],
    ['where it becomes too long', endless, (signal) => http.bytes(base, { maxBytes: 10, signal })],
    ['at its status', endless, (signal) => http.bytes(base, { wantsBody: () => false, signal })],
  ])('%s leaves neither its connection nor a listener', async (_, listener, work) => {
    let closed = false;
    answer = (request, response) => {
      response.on('close', () => (closed = true));
      listener(request, response);
    };
    const caller = new AbortController();
    await work(caller.signal, () => caller.abort(new Error('left'))).catch(() => undefined);
    while (!closed) await sleep(5);
    expect(getEventListeners(caller.signal, 'abort')).toEqual([]);
  });

  it('at its status has it, whatever becomes of its body', async () => {
    answer = (_, response) => void response.writeHead(409).write('x');
    expect(await http.bytes(base, { wantsBody: (status) => status < 300 })).toMatchObject({ status: 409 });
  });

  it('is not, by an informational answer', async () => {
    answer = (_, response) => {
      response.writeEarlyHints({ link: '</a>; rel=preload' });
      response.end('{"a":1}');
    };
    expect(await http.bytes(base, { wantsBody: (status) => status === 200 })).toMatchObject({
      status: 200,
      bytes: Buffer.from('{"a":1}'),
    });
  });
});

describe('a request that waits for a connection', () => {
  it('is not sent any more when its caller has given up', async () => {
    const narrow = new HttpClient({ connections: 1 });
    let release: () => void = () => undefined;
    answer = (_, response) => void (release = () => response.end('{}'));
    const first = narrow.json(base);
    while (requests === 0) await sleep(5);
    const caller = new AbortController();
    const second = narrow.json(base, { signal: caller.signal });
    const third = narrow.json(base, { timeoutMs: 50 });
    caller.abort(new Error('left'));
    await expect(second).rejects.toThrow('left');
    await expect(third).rejects.toMatchObject({ code: 'timeout' });
    release();
    await first;
    answer = answering(200, '{}');
    await narrow.json(base);
    expect(requests).toBe(2);
    await narrow.close();
  });
});
