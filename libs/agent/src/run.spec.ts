import { RetryableError, TerminalError } from '#libs/contracts';
import { call, reply, results } from './loop/journal.fixture.js';
import { effectKey } from './loop/tool-calls.js';
import { runScript, type Script } from './run.fixture.js';
import type { Lease } from './lease.js';

const done = reply({ content: 'done' });
const asking = reply({ tool_calls: [call('lookup')] });
const found = () => ({ ok: true as const, result: 'found' });
const script = (more: Partial<Script> = {}): Script => ({
  model: (step) => (step === 0 ? asking : done),
  tool: found,
  ...more,
});

describe('a run', () => {
  it('is plan, act, observe and one terminal entry', async () => {
    const { journal, finish } = await runScript(script());
    expect(journal.map(({ kind }) => kind)).toEqual(['model', 'tools', 'model', 'finish']);
    expect(finish).toMatchObject({
      status: 'completed',
      output: 'done',
      error: null,
      stepsUsed: 2,
      tokensUsed: 200,
      toolCalls: 1,
    });
  });

  it('writes its last reply and its end at once', async () => {
    const { finish } = await runScript(script());
    expect(finish!.entries.map(({ body }) => body.kind)).toEqual(['model', 'finish']);
  });

  it('fixes the tools and their versions with its first reply', async () => {
    const { journal } = await runScript(script());
    expect(journal[0]).toMatchObject({ pinned: { lookup: '1.0.0', write: '1.0.0' } });
    expect(journal[2]).not.toHaveProperty('pinned');
  });

  it('calls the pinned version after a newer one was published', async () => {
    const left = [{ ...asking, pinned: { lookup: '0.9.0' } }];
    const { called } = await runScript(script(), { left });
    expect(called).toMatchObject([{ name: 'lookup', version: '0.9.0' }]);
  });

  it('answers calls that a crash left unanswered, without asking the model again', async () => {
    const left = [{ ...asking, pinned: { lookup: '1.0.0' } }];
    const { asked, called, journal } = await runScript(script(), { left });
    expect(called).toHaveLength(1);
    expect(asked).toEqual([1]);
    expect(journal.map(({ kind }) => kind)).toEqual(['model', 'tools', 'model', 'finish']);
  });
});

describe('tool calls', () => {
  const many = (count: number) =>
    reply({ tool_calls: Array.from({ length: count }, (_, i) => call('lookup', `{"i":${i}}`, 'same-id')) });

  it('of one reply run in parallel, at most eight at a time, and answer in their order', async () => {
    const { parallel, journal } = await runScript(
      script({
        model: (step) => (step === 0 ? many(12) : done),
        tool: async ({ arguments: args }) => {
          await new Promise((resolve) => setTimeout(resolve, 20 - (args as { i: number }).i));
          return { ok: true, result: (args as { i: number }).i };
        },
      }),
    );
    expect(parallel).toBe(8);
    expect((journal[1] as ReturnType<typeof results>).results.map(({ outcome }) => outcome)).toEqual(
      Array.from({ length: 12 }, (_, result) => ({ ok: true, result })),
    );
  });

  it('beyond the sixteenth of a reply are not made, and the model is told', async () => {
    const { called, journal } = await runScript(script({ model: (step) => (step === 0 ? many(20) : done) }));
    expect(called).toHaveLength(16);
    const told = (journal[1] as ReturnType<typeof results>).results.slice(16);
    expect(told).toHaveLength(4);
    for (const { outcome } of told) expect(outcome).toMatchObject({ ok: false, code: 'too-many-calls' });
  });

  it('are known by their place, whatever id the model gave them', async () => {
    const { called } = await runScript(script({ model: (step) => (step < 2 ? many(2) : done) }));
    const place = (step: number, index: number) =>
      effectKey('11111111-1111-4111-8111-111111111111', step, index, 'lookup@1.0.0');
    expect(called.map(({ idempotencyKey }) => idempotencyKey)).toEqual([
      place(1, 0),
      place(1, 1),
      place(2, 0),
      place(2, 1),
    ]);
    expect(new Set(called.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(4);
  });

  it('of a tool that does not exist, or with arguments that are no object, are results and reach nobody', async () => {
    const wrong = reply({ tool_calls: [call('hack'), call('constructor'), call('lookup', '{"q":')] });
    const { called, journal, finish } = await runScript(
      script({ model: (step) => (step === 0 ? wrong : done) }),
    );
    expect(called).toEqual([]);
    expect((journal[1] as ReturnType<typeof results>).results.map(({ outcome }) => outcome)).toMatchObject([
      { ok: false, code: 'tool-not-found', message: expect.stringContaining('lookup, write') },
      { ok: false, code: 'tool-not-found' },
      { ok: false, code: 'tool-arguments-invalid' },
    ]);
    expect(finish).toMatchObject({ status: 'completed', output: 'done' });
  });

  it('carry the tenant, the user and what is left of the deadline', async () => {
    const { called } = await runScript(script(), { task: { remainingMs: 5000, traceparent: '00-ab-cd-01' } });
    expect(called[0]).toMatchObject({ on: { tenant: 'acme', userId: 'ada' }, traceparent: '00-ab-cd-01' });
    expect(called[0]!.deadlineMs).toBeLessThanOrEqual(5000);
  });

  it('that fail are results that the model sees', async () => {
    const { finish, journal } = await runScript(
      script({ tool: () => ({ ok: false, code: 'not_configured', message: 'no key' }) }),
    );
    expect(journal[1]).toMatchObject({ results: [{ outcome: { ok: false, code: 'not_configured' } }] });
    expect(finish).toMatchObject({ status: 'completed', output: 'done', toolCalls: 1 });
  });
});

describe('text that cannot be journalled', () => {
  it('is replaced where it enters, in replies and results', async () => {
    const odd = 'a\0b \ud83d';
    const safe = 'a\ufffdb \ufffd';
    const { journal, finish } = await runScript({
      model: (step) =>
        step === 0
          ? reply({ content: odd, tool_calls: [call('lookup', '{}', odd)] })
          : reply({ content: odd }),
      tool: () => ({ ok: true, result: { [odd]: odd } }),
    });
    expect(journal).toMatchObject([
      { content: safe, tool_calls: [{ id: safe }] },
      { results: [{ call_id: safe, outcome: { result: { [safe]: safe } } }] },
      { content: safe },
      { kind: 'finish' },
    ]);
    expect(finish).toMatchObject({ status: 'completed', output: safe });
  });
});

describe('the model', () => {
  const away = new RetryableError('model_unavailable', '503', { retryAfterMs: 1 });

  it('is asked again while its failure passes', async () => {
    const { asked, finish, journal, told } = await runScript(
      script({
        model: (step, attempt) => {
          if (attempt < 3) throw away;
          return step === 0 ? asking : done;
        },
      }),
    );
    expect(asked).toEqual([0, 0, 0, 1, 1, 1]);
    expect(journal).toHaveLength(4);
    expect(finish).toMatchObject({ status: 'completed', stepsUsed: 2 });
    expect(told).toEqual(
      [1, 2, 1, 2].map((attempt) => ({
        kind: 'retry',
        code: 'model_unavailable',
        text: '503',
        attempt,
        max_attempts: 30,
        retry_after_ms: 1,
        deadline_ms: expect.any(Number) as number,
      })),
    );
  });

  it('is given up after thirty attempts of one step', async () => {
    const { asked, finish, retryable } = await runScript(
      script({
        model: () => {
          throw away;
        },
      }),
    );
    expect(asked).toHaveLength(30);
    expect(retryable).toBe(true);
    expect(finish).toMatchObject({ status: 'failed', error: 'model_unavailable', output: null });
  });

  it('is not asked again when it refuses the request; what was reached is kept', async () => {
    const { asked, finish } = await runScript(
      script({
        model: (step) => {
          if (step === 0) return reply({ content: 'first thought', tool_calls: [call('lookup')] });
          throw new TerminalError('model_request_rejected', '400');
        },
      }),
    );
    expect(asked).toEqual([0, 1]);
    expect(finish).toMatchObject({
      status: 'failed',
      error: 'model_request_rejected',
      output: 'first thought',
      stepsUsed: 1,
      tokensUsed: 100,
      toolCalls: 1,
    });
  });

  it('that breaks in an unforeseen way fails the task as internal, without its words', async () => {
    const { finish } = await runScript(
      script({
        model: () => {
          throw new TypeError('secret prompt');
        },
      }),
    );
    expect(finish).toMatchObject({ status: 'failed', error: 'internal' });
    expect(JSON.stringify(finish)).not.toContain('secret prompt');
  });
});

describe('a run that is stopped', () => {
  /** Stops the run while the model answers the second time. */
  const stopping = (reason: Parameters<Lease['stop']>[0]) => {
    let lease: Lease;
    return runScript(
      script({
        model: (step, _, { signal }) => {
          if (step === 0) return reply({ content: 'so far', tool_calls: [call('lookup')] });
          lease.stop(reason);
          signal.throwIfAborted();
          return done;
        },
      }),
      { onLease: (held) => (lease = held) },
    );
  };

  it('on request ends cancelled, with what it had', async () => {
    const { finish } = await stopping('cancelled');
    expect(finish).toMatchObject({
      status: 'cancelled',
      error: 'cancelled',
      output: 'so far',
      stepsUsed: 1,
      tokensUsed: 100,
    });
  });

  it('at its deadline ends failed, and is not to be tried again: its time is over', async () => {
    const { finish, retryable } = await stopping('deadline');
    expect(finish).toMatchObject({ status: 'failed', error: 'deadline_exceeded', output: 'so far' });
    expect(retryable).toBe(false);
  });

  it.each(['lease_lost', 'handed_over'] as const)('by %s writes nothing more', async (reason) => {
    const { finish, journal } = await stopping(reason);
    expect(finish).toBeNull();
    expect(journal).toHaveLength(2);
  });

  it('before it began asks nobody', async () => {
    const { finish, asked } = await runScript(script(), { task: { cancelRequested: true } });
    expect(finish).toMatchObject({ status: 'cancelled' });
    expect(asked).toEqual([]);
  });

  it('between two claims keeps what the first one reached', async () => {
    const said = reply({ content: 'so far', tool_calls: [call('lookup')], pinned: { lookup: '1.0.0' } });
    const { finish, asked } = await runScript(script(), {
      task: { cancelRequested: true },
      left: [said, results(said)],
    });
    expect(asked).toEqual([]);
    expect(finish).toMatchObject({
      status: 'cancelled',
      output: 'so far',
      stepsUsed: 1,
      tokensUsed: 100,
      toolCalls: 1,
    });
  });

  it('past its deadline before it began ends failed', async () => {
    const { finish, asked } = await runScript(script(), { task: { remainingMs: -1 } });
    expect(finish).toMatchObject({ status: 'failed', error: 'deadline_exceeded' });
    expect(asked).toEqual([]);
  });
});

describe('a superseded worker', () => {
  it.each([1, 2])('whose entry %i is refused goes no further', async (fencedFrom) => {
    const { journal, finish, called, asked } = await runScript(script(), { fencedFrom });
    expect(journal).toHaveLength(fencedFrom - 1);
    expect(finish).toBeNull();
    expect(called).toHaveLength(fencedFrom - 1);
    expect(asked).toEqual([0]);
  });

  it('whose end is refused leaves no end', async () => {
    expect(await runScript(script(), { fencedFrom: 3 })).toMatchObject({
      finish: null,
      journal: { length: 2 },
    });
  });
});

describe('a task that kills its workers', () => {
  it.each([
    [3, 'completed', null],
    [4, 'failed', 'poison'],
  ])('after %i crashes in a row ends %s with %s', async (crashes, status, error) => {
    const { finish } = await runScript(script(), { task: { crashes } });
    expect(finish).toMatchObject({ status, error });
  });
});
