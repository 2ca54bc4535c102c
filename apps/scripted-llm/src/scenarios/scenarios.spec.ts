import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { startService, type RunningService } from '#libs/chassis';
import service from '../service.js';
import type { ScenarioDto } from './scenario.dto.js';
import type { ScenarioCounts } from './scenario.store.js';

describe('scenarios', () => {
  let running: RunningService;
  let client: OpenAI;

  beforeAll(async () => {
    running = await startService(service, {
      PORT: '0',
      HOST: '127.0.0.1',
      LOG_LEVEL: 'silent',
      BATON_ENV: 'development',
    });
    client = new OpenAI({ apiKey: 'none', baseURL: `${running.url}/v1`, maxRetries: 0 });
  });

  afterAll(() => running.stop());
  afterEach(() => fetch(`${running.url}/scenarios`, { method: 'DELETE' }));

  const post = (scenario: object) =>
    fetch(`${running.url}/scenarios`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(scenario),
    });
  const define = async (steps: ScenarioDto['steps'], over: Partial<ScenarioDto> = {}) => {
    const response = await post({ name: 'sut', match: '[m]', steps, ...over });
    expect([response.status, response.status === 201 || (await response.text())]).toEqual([201, true]);
  };
  const counts = async () => (await (await fetch(`${running.url}/scenarios/sut`)).json()) as ScenarioCounts;

  /** A request after `step` assistant messages. */
  const request = (step = 0, text = 'do it [m]') => ({
    model: 'any',
    messages: [
      { role: 'user' as const, content: text },
      ...Array.from({ length: step }, () => ({ role: 'assistant' as const, content: 'before' })),
    ],
  });
  const say = async (step = 0, text?: string) => {
    const { choices } = await client.chat.completions.create(request(step, text));
    return choices[0]!.message.content;
  };
  const streamed = async (step = 0) => {
    const chunks: string[] = [];
    const stream = await client.chat.completions.create({ ...request(step), stream: true });
    for await (const chunk of stream) {
      const { content, tool_calls: calls } = chunk.choices[0]?.delta ?? {};
      chunks.push(content ?? calls?.[0]?.function?.arguments ?? '');
    }
    return chunks.filter(Boolean);
  };

  it('plays the step that the conversation has reached, and repeats the last', async () => {
    await define([{ content: 'one' }, { content: 'two' }]);
    expect([await say(1), await say(0), await say(5), await say(0)]).toEqual(['two', 'one', 'two', 'one']);
    expect(await counts()).toMatchObject({ requests: 4, by_step: { 0: 2, 1: 1, 5: 1 } });
  });

  it('leaves the end to the rules when told so, and other prompts too', async () => {
    await define([{ content: 'one' }], { on_end: 'rules' });
    expect(await say(1)).toContain('no tools');
    expect(await say(0, 'no marker')).toContain('no tools');
    expect(await counts()).toMatchObject({ requests: 1 });
  });

  it('calls tools with arguments as an object or as raw text, under ids that stay the same', async () => {
    await define([
      {
        tool_calls: [
          { name: 'a', arguments: { x: 1 } },
          { name: 'b', arguments: '{"broken', id: 'mine' },
        ],
      },
    ]);
    const first = await client.chat.completions.create(request());
    const second = await client.chat.completions.create(request());
    const calls = first.choices[0]!.message.tool_calls;
    expect(first.choices[0]!.finish_reason).toBe('tool_calls');
    expect(calls).toMatchObject([
      { function: { name: 'a', arguments: '{"x":1}' } },
      { id: 'mine', function: { name: 'b', arguments: '{"broken' } },
    ]);
    expect(second.choices[0]!.message.tool_calls).toEqual(calls);
  });

  it('sends the usage and finish reason of the step, or no usage', async () => {
    await define([
      { content: 'x', finish_reason: 'content_filter', usage: { prompt_tokens: 900, completion_tokens: 90 } },
      { content: 'x', usage: null },
    ]);
    const first = await client.chat.completions.create(request(0));
    expect(first.usage).toEqual({ prompt_tokens: 900, completion_tokens: 90, total_tokens: 990 });
    expect(first.choices[0]!.finish_reason).toBe('content_filter');
    expect((await client.chat.completions.create(request(1))).usage).toBeUndefined();
  });

  it('fails the first attempts of each conversation, with Retry-After', async () => {
    await define([{ content: 'at last', error: { status: 429, retry_after: 7, times: 2 } }]);
    for (const text of ['first [m]', 'second [m]']) {
      for (let attempt = 0; attempt < 2; attempt += 1) {
        const error = (await say(0, text).catch((reason: unknown) => reason)) as InstanceType<
          typeof OpenAI.APIError
        >;
        expect(error).toMatchObject({ status: 429, type: 'rate_limit_error' });
        expect(error.headers?.get('retry-after')).toBe('7');
      }
      expect(await say(0, text)).toBe('at last');
    }
    const listed = await fetch(`${running.url}/scenarios/sut/conversations?text=first`);
    expect(await listed.json()).toEqual({
      total: 1,
      conversations: [{ text: 'first [m]', by_step: { 0: 3 } }],
    });
  });

  it('answers differently on every attempt', async () => {
    await define([
      {
        vary: true,
        content: 'try {{attempt}}',
        tool_calls: [{ name: 'a', arguments: { n: '{{attempt}}' } }],
      },
    ]);
    const replies = [
      await client.chat.completions.create(request()),
      await client.chat.completions.create(request()),
    ];
    const messages = replies.map(({ choices }) => choices[0]!.message);
    expect(messages.map(({ content }) => content)).toEqual(['try 1', 'try 2']);
    expect(messages.map(({ tool_calls: calls }) => calls![0])).toMatchObject([
      { function: { arguments: '{"n":"1"}' } },
      { function: { arguments: '{"n":"2"}' } },
    ]);
    expect(messages[0]!.tool_calls![0]!.id).not.toBe(messages[1]!.tool_calls![0]!.id);
  });

  it('streams in pieces of the given size and pace', async () => {
    await define([
      { content: 'abcdefg', chunk_chars: 3, chunk_delay_ms: 20 },
      { tool_calls: [{ name: 'a', arguments: '{"x":12}' }], chunk_chars: 3 },
    ]);
    const started = Date.now();
    expect(await streamed(0)).toEqual(['abc', 'def', 'g']);
    expect(Date.now() - started).toBeGreaterThanOrEqual(55);
    expect(await streamed(1)).toEqual(['{"x', '":1', '2}']);
  });

  it('cuts the connection after so many characters, as often as told', async () => {
    await define([
      { content: 'abcdefg', cut_after: 4, chunk_chars: 3, times: 1 },
      { content: 'abcdefg', cut_after: 0 },
    ]);
    const seen: string[] = [];
    const broken = (async () => {
      for await (const chunk of await client.chat.completions.create({ ...request(), stream: true }))
        seen.push(chunk.choices[0]?.delta.content ?? '');
    })();
    await expect(broken).rejects.toThrow('terminated');
    expect(seen.join('')).toBe('abcd');
    expect((await streamed(0)).join('')).toBe('abcdefg');
    await expect(say(1)).rejects.toThrow(/terminated|Connection error|closed/);
    expect(await counts()).toMatchObject({ requests: 3, aborted: 0, in_flight: 0 });
  });

  it('hangs until the client goes away, and counts that', async () => {
    await define([{ hang: true, times: 1, content: 'here' }]);
    const controller = new AbortController();
    const hanging = client.chat.completions.create(request(), { signal: controller.signal });
    hanging.catch(() => undefined);
    await until(async () => (await counts()).in_flight === 1);
    controller.abort();
    await expect(hanging).rejects.toThrow('aborted');
    await until(async () => (await counts()).aborted === 1);
    expect(await counts()).toMatchObject({ in_flight: 0, max_in_flight: 1 });
    expect(await say()).toBe('here');
  });

  it('keeps many requests waiting at once', async () => {
    await define([{ content: 'slow' }], { latency_ms: 3000 });
    const all = Promise.all(Array.from({ length: 200 }, (_, index) => say(0, `${index} [m]`)));
    while ((await counts()).in_flight < 200) await new Promise((resolve) => setTimeout(resolve, 20));
    await all;
    expect(await counts()).toMatchObject({ requests: 200, max_in_flight: 200, in_flight: 0 });
  }, 30_000);

  it('takes the newest scenario that matches, and starts anew when one is defined again', async () => {
    await define([{ content: 'old' }]);
    await define([{ content: 'new' }], { name: 'newer', match: 'do it' });
    expect(await say()).toBe('new');
    await define([{ content: 'old again' }]);
    expect(await say()).toBe('old again');
    expect(await counts()).toMatchObject({ requests: 1 });
  });

  it('is known by its name in the prompt, and an unknown one is an error instead of an answer by the rules', async () => {
    await define([{ content: 'named' }], { match: undefined });
    expect(await say(0, 'go [scenario:sut]')).toBe('named');
    await fetch(`${running.url}/scenarios`, { method: 'DELETE' });
    for (const prompt of ['go [scenario:sut]', 'go [scenario:sut] and [m]'])
      await expect(say(0, prompt)).rejects.toMatchObject({
        status: 404,
        code: 'unknown_scenario',
        message: expect.stringContaining('define it again after a restart'),
      });
    expect(await say(0, 'what is x[scenario] or [0]')).toContain('no tools');
  });

  it('names what is wrong with a scenario, and what does not exist', async () => {
    const response = await post({ name: 'a b', match: '', steps: [{ error: { status: 200 }, surprise: 1 }] });
    const problem = (await response.json()) as { code: string; errors: Array<{ field: string }> };
    expect([response.status, problem.code]).toEqual([400, 'validation']);
    const fields = problem.errors.map(({ field }) => field);
    expect(fields).toEqual(
      expect.arrayContaining(['name', 'match', 'steps.0.error.status', 'steps.0.surprise']),
    );
    expect((await fetch(`${running.url}/scenarios/none`)).status).toBe(404);
  });
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < 3_000; waited += 20) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error('The condition did not come true within 3 s');
}
