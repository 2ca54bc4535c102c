import { setTimeout as sleep } from 'node:timers/promises';
import type { ChatRequest } from './llm.js';
import { OpenAiLlm } from './openai.js';
import { delta, json, startProvider, stream, usage } from './provider.fixture.js';

type Provider = Awaited<ReturnType<typeof startProvider>>;

describe('OpenAiLlm', () => {
  let provider: Provider;
  let sut: OpenAiLlm;

  beforeEach(async () => {
    provider = await startProvider();
    sut = new OpenAiLlm({ apiKey: 'key-1', baseUrl: provider.baseUrl, model: 'small-model' });
  });

  afterEach(async () => {
    await sut.onApplicationShutdown();
    await provider.close();
  });

  const ask = (over: Partial<ChatRequest> = {}): ChatRequest => ({
    messages: [{ role: 'user', content: 'secret words' }],
    tools: [],
    maxTokens: 100,
    signal: new AbortController().signal,
    timeoutMs: 5_000,
    ...over,
  });
  const failure = (request: ChatRequest) =>
    sut.complete(request).then(
      () => null,
      (error: unknown) => error,
    );

  it('streams text and reports the usage and the model of the provider', async () => {
    provider.answer = (response) =>
      stream(response, [
        delta({ role: 'assistant', content: '' }),
        delta({ content: 'Good ' }),
        delta({ content: 'day' }),
        delta({}, 'stop'),
        usage(7, 2),
      ]);
    const deltas: string[] = [];
    const reply = await sut.complete(ask({ onDelta: (text) => deltas.push(text) }));
    expect(deltas).toEqual(['Good ', 'day']);
    expect(reply).toEqual({
      content: 'Good day',
      toolCalls: [],
      finishReason: 'stop',
      usage: { prompt_tokens: 7, completion_tokens: 2 },
      model: 'big-model',
    });
  });

  it('reads an answer that comes in pieces, cut anywhere', async () => {
    const text = `data: ${JSON.stringify({ model: 'm', ...delta({ content: 'Grüße' }, 'stop') })}\n\ndata: [DONE]\n\n`;
    const bytes = Buffer.from(text);
    const middleOfLetter = bytes.indexOf('ü') + 1;
    provider.answer = async (response) => {
      response.writeHead(200).flushHeaders();
      for (const piece of [bytes.subarray(0, middleOfLetter), bytes.subarray(middleOfLetter)]) {
        await sleep(40);
        response.write(piece);
      }
      await sleep(40);
      response.end();
    };
    expect(await sut.complete(ask())).toMatchObject({ content: 'Grüße', finishReason: 'stop' });
  });

  it('reads an answer that begins with a byte order mark', async () => {
    const event = `\uFEFFdata: ${JSON.stringify({ model: 'm', ...delta({ content: '\uFEFFx' }, 'stop') })}\n\n`;
    provider.answer = (response) => response.end(event);
    expect(await sut.complete(ask())).toMatchObject({ content: '\uFEFFx', finishReason: 'stop' });
  });

  it('hangs up when nonsense comes in the middle of an answer', async () => {
    const hungUp = new Promise((resolve) => {
      provider.answer = async (response) => {
        response.on('close', () => resolve(true));
        stream(response, [delta({ content: 'x' })], false);
        await sleep(40);
        response.write('data: {"bad\n\n');
      };
    });
    expect(await failure(ask())).toMatchObject({ code: 'model_unavailable' });
    expect(await hungUp).toBe(true);
  });

  it('sends nothing of one call with the next', async () => {
    provider.answer = (response) => stream(response, [delta({ content: 'x' }, 'stop')]);
    await sut.complete(ask({ traceparent: '00-1-2-01' }));
    await sut.complete(ask());
    const [first, second] = provider.received.map(({ headers }) => headers);
    expect(first).toMatchObject({ traceparent: '00-1-2-01' });
    expect(second).toMatchObject({ authorization: 'Bearer key-1' });
    expect(second!['user-agent']).toMatch(/^OpenAI\/JS /);
    expect(second).not.toHaveProperty('traceparent');
  });

  it('sends messages, tools, limit and trace in the form of the API', async () => {
    provider.answer = (response) => stream(response, [delta({ content: 'x' }, 'stop')]);
    const call = { id: 'c1', name: 'find', arguments: '{"q":1}' };
    const parameters = { type: 'object' };
    await sut.complete(
      ask({
        messages: [
          { role: 'system', content: 'be brief' },
          { role: 'assistant', content: null, tool_calls: [call] },
          { role: 'tool', tool_call_id: 'c1', content: 'found' },
          { role: 'assistant', content: 'ok', tool_calls: [] },
        ],
        tools: [{ name: 'find', description: 'finds', parameters }],
        traceparent: '00-1-2-01',
      }),
    );
    const { body, headers } = provider.received[0]!;
    expect(headers).toMatchObject({ authorization: 'Bearer key-1', traceparent: '00-1-2-01' });
    expect(body).toEqual({
      model: 'small-model',
      max_tokens: 100,
      stream: true,
      stream_options: { include_usage: true },
      tools: [{ type: 'function', function: { name: 'find', description: 'finds', parameters } }],
      messages: [
        { role: 'system', content: 'be brief' },
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'find', arguments: '{"q":1}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: 'found' },
        { role: 'assistant', content: 'ok' },
      ],
    });
  });

  it('assembles parallel tool calls from their pieces', async () => {
    const piece = (index: number, args: string, id?: string, name?: string) =>
      delta({
        tool_calls: [{ index, ...(id ? { id, type: 'function' } : {}), function: { name, arguments: args } }],
      });
    provider.answer = (response) =>
      stream(response, [
        piece(0, '', 'a', 'find'),
        piece(0, '{"q":'),
        piece(1, '{"n"', 'b', 'count'),
        piece(0, '"x"}'),
        piece(1, ':1}'),
        delta({}, 'tool_calls'),
      ]);
    const reply = await sut.complete(ask());
    expect(reply.toolCalls).toEqual([
      { id: 'a', name: 'find', arguments: '{"q":"x"}' },
      { id: 'b', name: 'count', arguments: '{"n":1}' },
    ]);
    expect(reply).toMatchObject({ content: null, finishReason: 'tool_calls' });
  });

  it.each([
    {},
    { prompt_tokens: 5 },
    { prompt_tokens: -1, completion_tokens: 2 },
    { prompt_tokens: 1e12, completion_tokens: 2 },
  ])('takes the usage %j for none', async (partial) => {
    provider.answer = (response) =>
      stream(response, [delta({ content: 'x' }, 'stop'), { ...usage(0, 0), usage: partial }]);
    const { usage: charged } = await sut.complete(ask());
    expect(charged.completion_tokens).toBe(100);
    expect(charged.prompt_tokens).toBeGreaterThan(0);
  });

  it('charges the limit and an estimated prompt when the provider sends no usage', async () => {
    provider.answer = (response) => stream(response, [delta({ content: 'x' }, 'stop')]);
    const short = await sut.complete(ask());
    const long = await sut.complete(ask({ messages: [{ role: 'user', content: 'x'.repeat(4_000) }] }));
    expect(short.usage.completion_tokens).toBe(100);
    expect(short.usage.prompt_tokens).toBeGreaterThan(0);
    expect(long.usage.prompt_tokens).toBeGreaterThan(1_000);
    expect(long.usage.prompt_tokens).toBeLessThan(1_050);
  });

  it.each([
    ['stop', 'stop'],
    ['length', 'length'],
    ['content_filter', 'content_filter'],
    ['tool_calls', 'tool_calls'],
    ['function_call', 'tool_calls'],
    ['something_new', 'stop'],
  ])('maps the finish reason %s to %s', async (given, wanted) => {
    provider.answer = (response) => stream(response, [delta({ content: 'x' }, given)]);
    expect((await sut.complete(ask())).finishReason).toBe(wanted);
  });

  it('takes a stop with tool calls as tool calls', async () => {
    const call = { index: 0, id: 'a', function: { name: 'find', arguments: '{}' } };
    provider.answer = (response) => stream(response, [delta({ tool_calls: [call] }), delta({}, 'stop')]);
    expect((await sut.complete(ask())).finishReason).toBe('tool_calls');
  });

  it.each<[string, (provider: Provider) => void]>([
    ['ends without a finish reason', (p) => (p.answer = (r) => stream(r, [delta({ content: 'half' })]))],
    [
      'is cut after its finish reason',
      (p) =>
        (p.answer = (r) => {
          stream(r, [delta({ content: 'half' }), delta({}, 'stop')], false);
          setTimeout(() => r.destroy(), 20);
        }),
    ],
    ['is not JSON', (p) => (p.answer = (r) => void r.writeHead(200).end('data: {"secret words\n\n'))],
    ['reports an error', (p) => (p.answer = (r) => stream(r, [{ error: { message: 'secret words' } }]))],
    ['never begins', (p) => (p.answer = (r) => r.destroy())],
  ])('uses nothing of a stream that %s', async (_, arrange) => {
    arrange(provider);
    const error = await failure(ask());
    expect(error).toMatchObject({ code: 'model_unavailable', retryable: true });
    expect((error as Error).message).not.toContain('secret');
  });

  it.each<[number, Record<string, string>, object]>([
    [429, { 'retry-after': '3' }, { code: 'model_rate_limited', retryable: true, retryAfterMs: 3_000 }],
    [429, { 'retry-after-ms': '250' }, { code: 'model_rate_limited', retryAfterMs: 250 }],
    [429, {}, { code: 'model_rate_limited', retryAfterMs: undefined }],
    [500, {}, { code: 'model_unavailable', retryable: true }],
    [503, { 'retry-after': '1' }, { code: 'model_unavailable', retryAfterMs: 1_000 }],
    [408, {}, { code: 'model_unavailable', retryable: true }],
    [400, {}, { code: 'model_request_rejected', retryable: false }],
    [401, {}, { code: 'model_request_rejected', retryable: false }],
    [404, {}, { code: 'model_request_rejected', retryable: false }],
  ])('maps status %p with %p, without retrying', async (status, headers, wanted) => {
    provider.answer = (response) =>
      json(response, { error: { message: 'you said: secret words', code: 'bad_thing' } }, status, headers);
    const error = await failure(ask());
    expect(error).toMatchObject(wanted);
    expect((error as Error).message).not.toContain('secret');
    expect(provider.received).toHaveLength(1);
  });

  it('reports a refused connection as unavailable', async () => {
    const nowhere = new OpenAiLlm({ apiKey: 'k', baseUrl: 'http://127.0.0.1:1/v1', model: 'm' });
    const error = await nowhere.complete(ask()).catch((reason: unknown) => reason as Error);
    expect(error).toMatchObject({ code: 'model_unavailable' });
    expect((error as Error).message).toContain('The model API is unreachable');
    await nowhere.onApplicationShutdown();
  });

  it.each<[string, (provider: Provider) => void]>([
    ['before the first byte', (p) => (p.answer = () => undefined)],
    ['within the stream', (p) => (p.answer = (r) => stream(r, [delta({ content: 'half' })], false))],
  ])('ends at its deadline %s', async (_, arrange) => {
    arrange(provider);
    const started = Date.now();
    expect(await failure(ask({ timeoutMs: 150 }))).toMatchObject({ code: 'model_timeout', retryable: true });
    expect(Date.now() - started).toBeLessThan(1_500);
  });

  it('ends with the reason of the signal, and closes the request at the provider', async () => {
    let closed = false;
    provider.answer = (response) => {
      response.on('close', () => (closed = true));
      stream(response, [delta({ content: 'half' })], false);
    };
    const controller = new AbortController();
    const reason = new Error('cancelled by the user');
    const running = failure(ask({ signal: controller.signal, onDelta: () => controller.abort(reason) }));
    expect(await running).toBe(reason);
    await until(() => closed);
    expect(await failure(ask({ signal: controller.signal }))).toBe(reason);
    expect(provider.received).toHaveLength(1);
  });

  it('closes the request at the provider when its stream is nonsense', async () => {
    let closed = false;
    provider.answer = (response) => {
      response.on('close', () => (closed = true));
      response.writeHead(200).write('data: {"secret words\n\n');
    };
    expect(await failure(ask())).toMatchObject({ code: 'model_unavailable' });
    await until(() => closed);
  });

  it('waits for the answer behind an informational one', async () => {
    provider.answer = (response) => {
      response.writeEarlyHints({ link: '</a>; rel=preload' });
      stream(response, [delta({ content: 'x' }, 'stop')]);
    };
    expect((await sut.complete(ask())).content).toBe('x');
  });

  it('keeps its connections for later calls', async () => {
    await until(() => sut.state().ok);
    provider.answer = (response) => stream(response, [delta({ content: 'x' }, 'stop')]);
    for (let call = 0; call < 10; call += 1) await sut.complete(ask());
    // A connection may be free again just after the next call has begun.
    expect(new Set(provider.received.map(({ connection }) => connection)).size).toBeLessThanOrEqual(2);
  });

  describe('state', () => {
    it('is known soon after the start, and tells a scripted model', async () => {
      await until(() => sut.state().ok);
      expect(sut.state()).toEqual({ ok: true, model: 'small-model', scripted: false });
      provider.models = (response) => json(response, { data: [{ id: 'scripted', owned_by: 'scripted' }] });
      const scripted = new OpenAiLlm({ apiKey: 'k', baseUrl: provider.baseUrl, model: 'small-model' });
      expect(scripted.state()).toMatchObject({ ok: false, scripted: false });
      await until(() => scripted.state().ok);
      expect(scripted.state()).toEqual({ ok: true, model: 'scripted', scripted: true });
      await scripted.onApplicationShutdown();
    });

    it('names the cause of a failure and recovers by itself', async () => {
      provider.models = (response) =>
        json(response, { error: { message: 'no', code: 'invalid_api_key' } }, 401);
      const failing = new OpenAiLlm({ apiKey: 'k', baseUrl: provider.baseUrl, model: 'm' });
      await until(() => failing.state().cause?.includes('401') === true);
      expect(failing.state()).toMatchObject({
        ok: false,
        cause: 'The model API rejected the request: 401 invalid_api_key',
      });
      provider.models = (response) => json(response, { error: {} }, 404);
      await until(() => failing.state().ok);
      await failing.onApplicationShutdown();
    });
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; waited < 3_000; waited += 10) {
    if (condition()) return;
    await sleep(10);
  }
  throw new Error('The condition did not come true within 3 s');
}
