import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Subject, Tokens } from '#libs/auth';
import { RetryableError } from '#libs/contracts';
import { ToolClient, type ToolCall } from './tool-client.js';

const ON: Subject = { tenant: 'acme', userId: null, scopes: [], token: 'token' };
const tokens = { authorization: async () => 'Bearer x' } as unknown as Tokens;
type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const problem =
  (status: number, code: string, errors?: unknown): Answer =>
  (response) =>
    void response
      .writeHead(status, { 'content-type': 'application/problem+json' })
      .end(JSON.stringify({ code, detail: `says ${code}`, errors }));
const json =
  (value: unknown): Answer =>
  (response) =>
    void response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
const done = json({ outcome: { ok: true, result: 1 } });
const cut: Answer = (response) => void response.destroy();
const tools = json({
  tools: [
    { name: 'reading', version: '1.0.0', effect: 'read' },
    { name: 'writing', version: '1.0.0', effect: 'write' },
  ],
});

describe('ToolClient', () => {
  let server: Server;
  let client: ToolClient;
  /** Answers of the registry, one per request; the last one stays. */
  let answers: Answer[];
  let requests: IncomingMessage[];

  beforeEach(async () => {
    requests = [];
    server = createServer((request, response) => {
      requests.push(request);
      (answers.length > 1 ? answers.shift()! : answers[0]!)(response, request);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    client = new ToolClient({
      registryUrl: `http://127.0.0.1:${port}/`,
      tokens,
    });
  });

  afterEach(async () => {
    await client.onApplicationShutdown();
    server.closeAllConnections();
    server.close();
  });

  const invoke = (more: Partial<ToolCall> = {}) =>
    client.invoke({
      name: 'writing',
      version: '1.0.0',
      arguments: {},
      idempotencyKey: 'key-1',
      on: ON,
      deadlineMs: 3000,
      signal: new AbortController().signal,
      ...more,
    });

  it('sends the key, the deadline and the trace', async () => {
    answers = [done];
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    expect(await invoke({ traceparent })).toEqual({ ok: true, result: 1 });
    expect(requests[0]!.headers).toMatchObject({
      'idempotency-key': 'key-1',
      'x-request-id': 'key-1',
      traceparent,
    });
    expect(Number(requests[0]!.headers['x-deadline-ms'])).toBeLessThan(3000);
  });

  it.each([
    [403, 'forbidden'],
    [404, 'tool-not-found'],
    [422, 'tool-arguments-invalid'],
    [429, 'rate-limited'],
  ])('turns a %i into an outcome for the model, without another attempt', async (status, code) => {
    answers = [problem(status, code)];
    expect(await invoke()).toEqual({
      ok: false,
      code,
      message: `says ${code}`,
    });
    expect(requests).toHaveLength(1);
  });

  it('tells the model which arguments are wrong', async () => {
    answers = [problem(422, 'tool-arguments-invalid', [{ field: 'arguments.a', message: 'must be string' }])];
    expect(await invoke()).toMatchObject({
      message: 'says tool-arguments-invalid (arguments.a: must be string)',
    });
  });

  it('raises a 401: it concerns the deployment, not the model', async () => {
    answers = [problem(401, 'unauthenticated')];
    await expect(invoke()).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('tries again with the same key', async () => {
    answers = [problem(503, 'database-unavailable'), cut, problem(409, 'idempotency-key-in-flight'), done];
    expect(await invoke()).toEqual({ ok: true, result: 1 });
    expect(requests.map(({ headers }) => headers['idempotency-key'])).toEqual([
      'key-1',
      'key-1',
      'key-1',
      'key-1',
    ]);
  });

  it.each([
    ['writing', 'outcome_unknown'],
    ['never_listed', 'outcome_unknown'],
    ['reading', 'unavailable'],
  ])('ends a call of %s that may have arrived as %s', async (name, code) => {
    answers = [tools];
    await client.list();
    answers = [cut];
    expect(await invoke({ name, deadlineMs: 400 })).toMatchObject({ ok: false, code });
  });

  it('ends a write that cannot have arrived as unavailable', async () => {
    server.close();
    expect(await invoke({ deadlineMs: 400 })).toMatchObject({ ok: false, code: 'unavailable' });
  });

  describe('while identity is away', () => {
    const away = () => new RetryableError('identity-unavailable', 'away');
    /** As many as the attempts at a registry that is away. */
    const REFUSALS = 6;

    it('asks again until the deadline, sends nothing meanwhile, and then calls once', async () => {
      answers = [done];
      let refusals = 0;
      const authorization = jest.spyOn(tokens, 'authorization').mockImplementation(async () => {
        if ((refusals += 1) <= REFUSALS) throw away();
        return 'Bearer x';
      });
      expect(await invoke({ deadlineMs: 60_000 })).toEqual({ ok: true, result: 1 });
      authorization.mockRestore();
      expect([refusals, requests.length]).toEqual([REFUSALS + 1, 1]);
    }, 60_000);

    it('ends as unavailable at the deadline, for a write too: nothing was sent', async () => {
      const authorization = jest.spyOn(tokens, 'authorization').mockRejectedValue(away());
      expect(await invoke({ deadlineMs: 400 })).toMatchObject({ ok: false, code: 'unavailable' });
      authorization.mockRestore();
    });

    it('for the registry, whose answer says so, it is the same', async () => {
      answers = [problem(503, 'identity-unavailable')];
      expect(await invoke({ deadlineMs: 400 })).toMatchObject({ ok: false, code: 'unavailable' });
    });
  });

  it('ends at the deadline when the registry hangs', async () => {
    answers = [() => undefined];
    const started = performance.now();
    expect(await invoke({ deadlineMs: 200 })).toMatchObject({ ok: false, code: 'outcome_unknown' });
    expect(performance.now() - started).toBeLessThan(600);
  });

  it.each<[string, Answer]>([
    ['during an attempt', () => undefined],
    ['between two attempts', problem(503, 'away')],
  ])('throws the reason of an abort %s', async (_, answer) => {
    answers = [answer];
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('cancelled')), 60);
    await expect(invoke({ signal: controller.signal })).rejects.toThrow('cancelled');
  });

  it('asks for the list once for many, and remembers it', async () => {
    answers = [tools];
    const lists = await Promise.all([client.list(), client.list(), client.list()]);
    await client.list();
    expect(lists.map((list) => list.length)).toEqual([2, 2, 2]);
    expect(requests).toHaveLength(1);
  });

  it('soon asks again for a list that lacks a declared tool', async () => {
    client = new ToolClient({
      registryUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      tokens,
      declared: ['reading', 'late'],
    });
    const late = json({ tools: [{ name: 'reading' }, { name: 'late' }] });
    answers = [tools, late];
    const [start, clock] = [performance.now(), jest.spyOn(performance, 'now')];
    const listed = async (ms: number) => {
      clock.mockReturnValue(start + ms);
      return (await client.list()).map(({ name }) => name);
    };
    expect([await listed(0), await listed(200)]).toEqual([
      ['reading', 'writing'],
      ['reading', 'writing'],
    ]);
    expect(await listed(300)).toEqual(['reading', 'late']);
    await listed(5200);
    expect(requests).toHaveLength(2);
    jest.restoreAllMocks();
  });

  it('keeps the list while the registry is away, and has none when it was never there', async () => {
    answers = [tools];
    await client.list();
    jest.spyOn(performance, 'now').mockReturnValue(performance.now() + 10_000);
    answers = [problem(503, 'away')];
    expect(await client.list()).toHaveLength(2);
    jest.restoreAllMocks();
    const fresh = new ToolClient({
      registryUrl: 'http://127.0.0.1:1',
      tokens,
    });
    await expect(fresh.list()).rejects.toMatchObject({ code: 'unreachable' });
    await fresh.onApplicationShutdown();
  });
});
