import OpenAI from 'openai';
import { startService, type RunningService } from '#libs/chassis';
import { featureHash } from '#libs/llm';
import service from './service.js';

const ENV = { PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: 'silent', BATON_ENV: 'development' };

describe('the OpenAI API', () => {
  let running: RunningService;
  let client: OpenAI;

  beforeAll(async () => {
    running = await startService(service, ENV);
    client = new OpenAI({ apiKey: 'none', baseURL: `${running.url}/v1`, maxRetries: 0 });
  });

  afterAll(() => running.stop());

  const user = (content: string) => ({ role: 'user' as const, content });
  const lookup = {
    type: 'function' as const,
    function: {
      name: 'find_passages',
      description: 'Searches documents',
      parameters: { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] },
    },
  };

  it('lists one model, owned by scripted', async () => {
    const { data } = await client.models.list();
    expect(data).toMatchObject([{ id: 'scripted', owned_by: 'scripted' }]);
  });

  it('embeds texts by feature hashing, as numbers and as base64', async () => {
    const input = ['a lease', 'a journal'];
    const create = (encoding_format: 'float' | 'base64') =>
      client.embeddings.create({ model: 'any', input, encoding_format, dimensions: 64 });
    const floats = await create('float');
    const packed = await create('base64');
    const decoded = packed.data.map(({ embedding }) => {
      const bytes = Buffer.from(embedding as unknown as string, 'base64');
      return Array.from({ length: 64 }, (_, at) => bytes.readFloatLE(at * 4));
    });
    expect(floats.data.map(({ embedding }) => embedding)).toEqual(
      input.map((text) => Array.from(featureHash(text, 64))),
    );
    expect(decoded).toEqual(floats.data.map(({ embedding }) => embedding));
    expect(floats.usage.prompt_tokens).toBe(5);
    await expect(client.embeddings.create({ model: 'any', input: [] })).rejects.toMatchObject({
      status: 400,
    });
  });

  it('answers whole, and the same in a stream with its usage', async () => {
    const body = { model: 'any', messages: [user('What is a lease?')] };
    const whole = await client.chat.completions.create(body);
    const stream = await client.chat.completions.create({
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    const ends: unknown[] = [];
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      if (chunk.choices[0]?.finish_reason) ends.push(chunk.choices[0].finish_reason);
      if (chunk.usage) ends.push(chunk.usage);
    }
    expect(whole.choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { role: 'assistant', content: text },
    });
    expect(text).toContain('no tools');
    expect(ends).toEqual(['stop', whole.usage]);
    expect(whole.usage!.completion_tokens).toBe(Math.ceil(Buffer.byteLength(text) / 4));
  });

  it('calls a tool, unless the choice is none', async () => {
    const body = { model: 'any', messages: [user('What is a lease?')], tools: [lookup] };
    const calling = await client.chat.completions.create(body);
    expect(calling.choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: null,
        tool_calls: [{ function: { name: 'find_passages', arguments: '{"query":"lease"}' } }],
      },
    });
    const again = await client.chat.completions.create(body);
    expect(again.choices).toEqual(calling.choices);
    const talking = await client.chat.completions.create({ ...body, tool_choice: 'none' });
    expect(talking.choices[0]).toMatchObject({ finish_reason: 'stop' });
    expect(talking.choices[0]!.message.tool_calls).toBeUndefined();
  });

  it.each(['max_tokens', 'max_completion_tokens'])('cuts at %s', async (field) => {
    const { choices, usage } = await client.chat.completions.create({
      model: 'any',
      messages: [user('What is a lease?')],
      [field]: 3,
    });
    expect(choices[0]).toMatchObject({ finish_reason: 'length', message: { content: 'I have no to' } });
    expect(usage!.completion_tokens).toBe(3);
  });

  it.each<[string, object]>([
    ['no messages', { model: 'm' }],
    ['no model', { messages: [user('x')] }],
    ['an unknown role', { model: 'm', messages: [{ role: 'robot', content: 'x' }] }],
    [
      'a result without its call',
      { model: 'm', messages: [user('x'), { role: 'tool', tool_call_id: 'a', content: 'x' }] },
    ],
    [
      'a call without its result',
      {
        model: 'm',
        messages: [
          {
            role: 'assistant',
            tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }],
          },
          user('x'),
        ],
      },
    ],
    [
      'a bad tool name',
      { model: 'm', messages: [user('x')], tools: [{ type: 'function', function: { name: 'a b' } }] },
    ],
    ['max_tokens 0', { model: 'm', messages: [user('x')], max_tokens: 0 }],
  ])('refuses %s in the form of the API', async (_, body) => {
    const response = await fetch(`${running.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      error: {
        message: expect.any(String),
        type: 'invalid_request_error',
        param: null,
        code: 'invalid_request',
      },
    });
  });

  it('takes bodies up to 8 MB and refuses larger and broken ones in the form of the API', async () => {
    const send = (body: string) =>
      fetch(`${running.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
    const sized = (length: number) => JSON.stringify({ model: 'm', messages: [user('x'.repeat(length))] });
    expect((await send(sized(7_900_000))).status).toBe(200);
    const large = await send(sized(8_400_000));
    expect([large.status, await large.json()]).toMatchObject([413, { error: { code: 'payload-too-large' } }]);
    const broken = await send('{"model"');
    expect([broken.status, await broken.json()]).toMatchObject([
      400,
      { error: { type: 'invalid_request_error' } },
    ]);
  });
});

describe('the start', () => {
  it('is refused in production, which is the default, unless it is allowed', async () => {
    const production = { ...ENV, BATON_ENV: 'production' };
    await expect(startService(service, production)).rejects.toMatchObject({ code: 'configuration' });
    await expect(startService(service, { ...ENV, BATON_ENV: undefined })).rejects.toMatchObject({
      code: 'configuration',
    });
    const allowed = await startService(service, { ...production, BATON_ALLOW_SCRIPTED: '1' });
    await allowed.stop();
  });
});
