import type { ModelEntry, ToolsEntry } from '#libs/contracts';
import type { SpawnedService } from '#libs/devstack';
import {
  answer,
  callTool,
  eventually,
  TestStack,
  type ScenarioStep,
  type SseEvent,
  type SubmitBody,
} from '#libs/testing';

jest.setTimeout(120_000);

let stack: TestStack;
let agent: SpawnedService;
beforeAll(async () => {
  stack = await TestStack.start();
  agent = await stack.spawnAgent({ MODEL_TIMEOUT_MS: '5000' });
});
afterAll(() => stack?.stop());

let scripts = 0;
/** Runs a script to its end. */
async function run(steps: ScenarioStep[], more: Partial<SubmitBody> = {}) {
  const name = `run-${(scripts += 1)}`;
  const prompt = await stack.scenario({ name, steps });
  const api = stack.api(agent);
  const id = await api.accepted({ prompt, ...more });
  const view = await api.ended(id);
  const journal = await api.journal(id);
  return { name, view, journal: journal.map(({ body }) => body), counts: await stack.scenarioCounts(name) };
}
const outcomes = (entry: unknown) => (entry as ToolsEntry).results.map(({ outcome }) => outcome);
const echo = callTool('test_echo', { text: 'x' });
const spend = (prompt_tokens: number, completion_tokens: number) => ({
  usage: { prompt_tokens, completion_tokens },
});

describe('how a task ends', () => {
  it('with its answer, and the sum of what it used', async () => {
    const { view } = await run([
      { ...echo, ...spend(100, 10) },
      { ...answer('done'), ...spend(200, 5) },
    ]);
    expect(view).toMatchObject({
      status: 'completed',
      output: 'done',
      steps_used: 2,
      tokens_used: 315,
      tool_calls: 1,
    });
  });

  it('at its last step with the best output: max_steps_reached', async () => {
    const { view, counts } = await run(
      [
        { content: 'first', ...echo },
        { content: 'second', ...echo },
      ],
      { max_steps: 2 },
    );
    expect(view).toMatchObject({
      status: 'completed',
      error: 'max_steps_reached',
      output: 'second',
      steps_used: 2,
      tool_calls: 1,
    });
    expect(counts.requests).toBe(2);
  });

  it('that never stops calling tools at its last step, too', async () => {
    const { view } = await run([echo], { max_steps: 5 });
    expect(view).toMatchObject({ error: 'max_steps_reached', steps_used: 5, tool_calls: 4 });
  });

  it('with its budget spent: token_budget_exceeded, and the answer so far', async () => {
    const { view, counts } = await run([{ content: 'so far', ...echo, ...spend(500, 20) }, answer('never')], {
      token_budget: 512,
    });
    expect(view).toMatchObject({
      status: 'completed',
      error: 'token_budget_exceeded',
      output: 'so far',
      tokens_used: 520,
      tool_calls: 0,
    });
    expect(counts.requests).toBe(1);
  });

  it('before a call that the budget does not pay: token_budget_exceeded', async () => {
    const { view, counts } = await run([{ content: 'so far', ...echo, ...spend(480, 20) }, answer('never')], {
      token_budget: 512,
    });
    expect(view).toMatchObject({
      error: 'token_budget_exceeded',
      output: 'so far',
      tokens_used: 500,
      tool_calls: 1,
    });
    expect(counts.requests).toBe(1);
  });

  it('with a valid answer that went over the budget, which is kept', async () => {
    const { view } = await run([{ ...answer('the answer'), ...spend(500, 100) }], { token_budget: 512 });
    expect(view).toMatchObject({ status: 'completed', error: null, output: 'the answer', tokens_used: 600 });
  });

  it('cut by the budget: token_budget_exceeded with what there is', async () => {
    const { view } = await run([answer('word '.repeat(2000))], { token_budget: 600 });
    expect(view).toMatchObject({ status: 'completed', error: 'token_budget_exceeded' });
    expect(view.output).toMatch(/^word word/);
    expect(view.tokens_used).toBeGreaterThan(500);
  });

  it.each([
    ['output_truncated', { ...answer('Half a'), finish_reason: 'length' }, 'Half a'],
    ['output_truncated', { content: 'Half', ...echo, finish_reason: 'length' }, 'Half'],
    ['content_filtered', { ...answer('Some'), finish_reason: 'content_filter' }, 'Some'],
    ['empty_reply', answer('   '), null],
    ['empty_reply', {}, null],
  ])('failed: %s (%#)', async (error, step, output) => {
    const { view, counts } = await run([step]);
    expect(view).toMatchObject({ status: 'failed', error, output, tool_calls: 0 });
    expect(counts.requests).toBe(1);
  });

  it('without usage in the reply is still accounted', async () => {
    const { view } = await run([{ ...answer('a few words here'), usage: null }]);
    expect(view.status).toBe('completed');
    expect(view.tokens_used).toBeGreaterThan(5);
  });

  it('with text that no database holds like any other', async () => {
    const { view } = await run([
      { ...callTool('test_echo', '{"text":"\\ud83d"}'), content: 'half \ud83d' },
      answer('whole 😀 and half \ud83d'),
    ]);
    expect(view).toMatchObject({ status: 'completed', output: 'whole 😀 and half \ufffd' });
  });
});

describe('a tool', () => {
  it('that fails is a result that the model sees, and the task goes on', async () => {
    const { view, journal } = await run([
      callTool('test_fail', { text: 'because' }),
      answer('worked around'),
    ]);
    expect(outcomes(journal[1])).toEqual([{ ok: false, code: 'test_failed', message: 'because' }]);
    expect(view).toMatchObject({ status: 'completed', output: 'worked around', error: null });
  });

  it('that does not exist or may not be used is a result, too', async () => {
    const steps = ['knowledge_base', 'no_such_tool', '../../health'].map((name) => ({ name, arguments: {} }));
    const { view, journal } = await run([{ tool_calls: steps }, answer('without')]);
    expect(outcomes(journal[1])).toEqual(
      steps.map(() => expect.objectContaining({ ok: false, code: 'tool-not-found' })),
    );
    expect(view.status).toBe('completed');
  });

  it('called with arguments that break its schema is not reached', async () => {
    const before = stack.tools.calls['test_echo']!.length;
    const { journal, view } = await run([callTool('test_echo', { text: 1, more: true }), answer('sorry')]);
    expect(outcomes(journal[1])).toMatchObject([{ ok: false, code: 'tool-arguments-invalid' }]);
    expect(stack.tools.calls['test_echo']).toHaveLength(before);
    expect(view.status).toBe('completed');
  });

  it('runs beside the others of its reply', async () => {
    const texts = ['p1', 'p2', 'p3'];
    const running = run([
      { tool_calls: texts.map((text) => ({ name: 'test_hold', arguments: { text } })) },
      answer('all'),
    ]);
    // All three are under way before any of them ends.
    await eventually(() => texts.every((text) => stack.tools.calls['test_hold']!.includes(text)));
    for (const text of texts.toReversed()) stack.tools.release(text);
    const { journal, view } = await running;
    expect(outcomes(journal[1])).toEqual(texts.map((text) => ({ ok: true, result: { text } })));
    expect(view).toMatchObject({ status: 'completed', tool_calls: 3 });
  });

  it('that changes something does so once per call, and again for an equal call of a later step', async () => {
    const record = callTool('test_record', { text: 'same' });
    const { view } = await run([
      { tool_calls: [...record.tool_calls!, ...record.tool_calls!] },
      record,
      answer('done'),
    ]);
    const effects = stack.tools.effects.filter(({ text }) => text === 'same');
    expect(effects).toHaveLength(3);
    expect(new Set(effects.map(({ key }) => key)).size).toBe(3);
    expect(view.tool_calls).toBe(3);
  });
});

describe('arguments that are no JSON object', () => {
  const garbage = callTool('test_echo', '{"text": "x');

  it('are told to the model, which may mend them', async () => {
    const { view, journal } = await run([garbage, echo, answer('mended')]);
    expect(outcomes(journal[1])).toMatchObject([{ ok: false, code: 'tool-arguments-invalid' }]);
    expect(outcomes(journal[3])).toEqual([{ ok: true, result: { text: 'x' } }]);
    expect(view).toMatchObject({ status: 'completed', output: 'mended' });
  });

  it('the second time fail the task, and nothing of that reply is called', async () => {
    const steps = [
      garbage,
      { tool_calls: [...garbage.tool_calls!, { name: 'test_record', arguments: { text: 'not this' } }] },
    ];
    const { view } = await run([...steps, answer('never')]);
    expect(view).toMatchObject({ status: 'failed', error: 'tool_arguments_malformed', steps_used: 2 });
    expect(stack.tools.effects.map(({ text }) => text)).not.toContain('not this');
  });
});

describe('a model that', () => {
  it.each<[string, ScenarioStep, number]>([
    ['is rate limited', { error: { status: 429, retry_after: 0.1, times: 2 } }, 3],
    ['answers 500', { error: { status: 500, times: 2 } }, 3],
    ['answers 503 with Retry-After', { error: { status: 503, retry_after: 0.1, times: 1 } }, 2],
    ['hangs', { hang: true, times: 1 }, 2],
    ['breaks off in the middle', { cut_after: 3, times: 2 }, 3],
    ['breaks off at once', { cut_after: 0, times: 1 }, 2],
  ])('%s is asked again, and its reply counts once', async (_, fault, requests) => {
    const { view, counts, journal } = await run([{ ...answer('in the end'), ...fault }]);
    expect(view).toMatchObject({ status: 'completed', output: 'in the end', steps_used: 1 });
    expect(counts.requests).toBe(requests);
    expect(journal.map(({ kind }) => kind)).toEqual(['model', 'finish']);
  });

  it('is away is no silence: watchers hear of each wait, without id', async () => {
    const name = 'away';
    const prompt = await stack.scenario({
      name,
      steps: [{ ...answer('back'), error: { status: 503, retry_after: 0.6, times: 2 } }],
    });
    const api = stack.api(agent);
    const id = await api.accepted({ prompt });
    const told: SseEvent[] = [];
    for await (const event of api.events(id)) if (event.event === 'retry') told.push(event);
    expect(told.at(-1)).toEqual({
      id: undefined,
      event: 'retry',
      data: {
        kind: 'retry',
        code: 'model_unavailable',
        text: 'The model API answered 503',
        attempt: 2,
        max_attempts: 30,
        retry_after_ms: 600,
        deadline_ms: expect.any(Number) as number,
      },
    });
  });

  it('breaks off while it writes a tool call has none of it executed', async () => {
    const call = callTool('test_record', { text: 'whole-or-nothing' });
    const { view } = await run([{ ...call, cut_after: 12, times: 2 }, answer('done')]);
    expect(view).toMatchObject({ status: 'completed', tool_calls: 1 });
    expect(stack.tools.effects.filter(({ text }) => text === 'whole-or-nothing')).toHaveLength(1);
  });

  it.each([400, 401, 403, 404])('refuses with %i is not asked again', async (status) => {
    const { view, counts } = await run([{ error: { status } }]);
    expect(view).toMatchObject({ status: 'failed', error: 'model_request_rejected' });
    expect(counts.requests).toBe(1);
  });

  it('varies its reply on each attempt is taken at its last word', async () => {
    const step = { content: 'attempt {{attempt}}', vary: true, error: { status: 500, times: 1 } };
    const { view, journal } = await run([step]);
    expect(view.output).toBe('attempt 2');
    expect((journal[0] as ModelEntry).content).toBe('attempt 2');
  });
});

it('hundreds of tasks wait on models in one process at once', async () => {
  const count = 200;
  const name = 'crowd';
  const prompt = await stack.scenario({ name, steps: [answer('here')], latency_ms: 3000 });
  const api = stack.api(agent);
  const ids = await Promise.all(
    Array.from({ length: count }, (_, i) => api.accepted({ prompt: `${prompt} ${i}` })),
  );
  const views = await Promise.all(
    ids.map((id) =>
      eventually(
        async () => (await api.get(id)).body,
        // An answer that is no task (429, 503) has none at all.
        ({ finished_at }) => typeof finished_at === 'string',
        { timeoutMs: 60_000, everyMs: 500 },
      ),
    ),
  );
  expect(views.filter(({ status }) => status === 'completed')).toHaveLength(count);
  const { max_in_flight } = await stack.scenarioCounts(name);
  expect(max_in_flight).toBeGreaterThan(100);
});
