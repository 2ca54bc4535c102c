import fc from 'fast-check';
import type { EntryBody, ModelToolCall, ToolOutcome } from '#libs/contracts';
import { reply } from './loop/journal.fixture.js';
import { runScript, type Ran, type Script } from './run.fixture.js';

const outcome: fc.Arbitrary<ToolOutcome> = fc.oneof(
  fc.record({ ok: fc.constant(true as const), result: fc.jsonValue({ maxDepth: 2 }) }),
  fc.record({
    ok: fc.constant(false as const),
    code: fc.constantFrom('timeout', 'not_configured'),
    message: fc.string(),
  }),
);
const toolCall: fc.Arbitrary<Call> = fc.record({
  id: fc.constantFrom('', 'call_0', 'call_1'),
  name: fc.constantFrom('lookup', 'write', 'unheard_of'),
  arguments: fc.oneof(
    { weight: 8, arbitrary: fc.constant('{"q":1}') },
    { weight: 1, arbitrary: fc.constantFrom('{', '[]') },
  ),
  outcome,
});
type Call = ModelToolCall & { outcome: ToolOutcome };

interface Step {
  content: string | null;
  calls: Call[];
  finish: 'length' | 'content_filter' | null;
  tokens: number;
}

/** Mostly replies that go on: a run is longer than a step or two. */
const step: fc.Arbitrary<Step> = fc.record({
  content: fc.option(fc.string({ maxLength: 20 })),
  calls: fc.oneof(
    { weight: 5, arbitrary: fc.array(toolCall, { minLength: 1, maxLength: 3 }) },
    { weight: 1, arbitrary: fc.constant<Call[]>([]) },
  ),
  finish: fc.oneof(
    { weight: 12, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.constantFrom('length' as const, 'content_filter' as const) },
  ),
  tokens: fc.oneof({ weight: 8, arbitrary: fc.nat(400) }, { weight: 1, arbitrary: fc.nat(9000) }),
});
const scripts = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 8 }),
  maxSteps: fc.integer({ min: 1, max: 8 }),
});

/** A model and tools whose answers depend on the place in the run alone; what is beyond the script repeats its end. */
function scriptOf(steps: Step[]): Script {
  const at = (place: number) => steps[Math.min(place, steps.length - 1)]!;
  const byPlace = new Map<string, ToolOutcome>();
  return {
    model: (place) => {
      const { content, calls, finish, tokens } = at(place);
      const tool_calls = calls.map(({ id, name, arguments: text }) => ({ id, name, arguments: text }));
      return reply({
        content,
        tool_calls,
        finish_reason: finish ?? (calls.length > 0 ? 'tool_calls' : 'stop'),
        usage: { prompt_tokens: tokens, completion_tokens: 1 },
      });
    },
    // The key is the call's place: the same place gets the same outcome, whoever asks.
    tool: ({ idempotencyKey }) => {
      const known = byPlace.get(idempotencyKey) ??
        at(byPlace.size).calls[0]?.outcome ?? { ok: true, result: byPlace.size };
      byPlace.set(idempotencyKey, known);
      return known;
    },
  };
}

/** Durations are the only part of an entry that differs between two runs of one script. */
const timeless = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (key, inner: unknown) => (/^duration_?ms$/i.test(key) ? 0 : inner)));
const endOf = ({ journal, finish }: Ran) => timeless({ journal, finish: { ...finish, entries: null } });

const isReplyWithCalls = (body: EntryBody | undefined) =>
  body?.kind === 'model' && body.tool_calls.length > 0;

describe('any prefix of any journal', () => {
  it('continues to the same journal, the same result and the same keys', async () => {
    const lengths: number[] = [];
    await fc.assert(
      fc.asyncProperty(scripts, async ({ steps, maxSteps }) => {
        const script = scriptOf(steps);
        const task = { maxSteps };
        const whole = await runScript(script, { task });
        expect(whole.journal.at(-1)?.kind).toBe('finish');
        lengths.push(whole.journal.length);
        const keys = new Set(whole.called.map(({ idempotencyKey }) => idempotencyKey));
        for (let length = 0; length < whole.journal.length; length += 1) {
          const left = whole.journal.slice(0, length);
          const resumed = await runScript(script, { task: { ...task, resumed: true, epoch: 2 }, left });
          expect(endOf({ ...resumed, finish: { ...resumed.finish!, epoch: 1 } })).toEqual(endOf(whole));
          // What is in the journal is not asked again.
          const replies = left.filter(({ kind }) => kind === 'model').length;
          expect(resumed.asked.every((place) => place >= replies)).toBe(true);
          for (const { idempotencyKey } of resumed.called) expect(keys).toContain(idempotencyKey);
        }
        const ended = await runScript(script, { task: { ...task, resumed: true }, left: whole.journal });
        expect(ended).toMatchObject({ asked: [], called: [], finish: null });
        expect(ended.journal).toHaveLength(whole.journal.length);
      }),
      { numRuns: 150 },
    );
    // The generator makes runs of many lengths, or this would prove little.
    expect(new Set(lengths).size).toBeGreaterThan(5);
  }, 60_000);

  it('is written in order: a reply before its calls, results before the next reply, one end', async () => {
    await fc.assert(
      fc.asyncProperty(scripts, async ({ steps, maxSteps }) => {
        const { journal, finish } = await runScript(scriptOf(steps), { task: { maxSteps } });
        expect(journal.map(({ kind }) => kind).join(' ')).toMatch(/^(model tools )*(model )?finish$/);
        const asking = journal.filter((_, i) => journal[i + 1]?.kind === 'tools');
        expect(asking.every(isReplyWithCalls)).toBe(true);
        const replies = journal.filter(({ kind }) => kind === 'model');
        expect(finish).toMatchObject({ stepsUsed: replies.length });
        expect(replies.length).toBeLessThanOrEqual(maxSteps);
      }),
      { numRuns: 200 },
    );
  }, 60_000);
});
