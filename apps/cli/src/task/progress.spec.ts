import type { AgentResult, EntryBody, LiveDelta } from '#libs/contracts';
import { closingLine, Progress } from './progress.js';

const entry = (seq: number, body: EntryBody) => ({ kind: 'entry' as const, entry: { seq, at: 'now', body } });
const live = (delta: LiveDelta) => ({ kind: 'live' as const, delta });
const retry = (attempt: number, retry_after_ms: number) =>
  live({
    kind: 'retry',
    code: 'model_unavailable',
    text: 'The model API is unreachable: ECONNREFUSED',
    attempt,
    max_attempts: 30,
    retry_after_ms,
    deadline_ms: 840_000,
  });
const model: EntryBody = {
  kind: 'model',
  content: null,
  tool_calls: [
    { id: '1', name: 'web_search', arguments: '{}' },
    { id: '2', name: 'knowledge_base', arguments: '{}' },
  ],
  finish_reason: 'tool_calls',
  usage: { prompt_tokens: 100, completion_tokens: 20 },
  model: 'scripted',
  duration_ms: 1234,
};
const tools: EntryBody = {
  kind: 'tools',
  results: [
    {
      call_id: '1',
      name: 'web_search',
      duration_ms: 5,
      outcome: { ok: false, code: 'not_configured', message: 'no' },
    },
    {
      call_id: '2',
      name: 'knowledge_base',
      duration_ms: 31,
      outcome: { ok: true, result: [], truncated: true },
    },
  ],
};

function progress(columns: number | null) {
  const written: string[] = [];
  return { written, progress: new Progress((text) => written.push(text), columns) };
}

describe('Progress', () => {
  it('writes a plain line per model call and per tool call', () => {
    const { written, progress: shown } = progress(null);
    shown.show(live({ kind: 'model_started', text: 'scripted' }));
    shown.show(entry(1, model));
    shown.show(entry(2, tools));
    expect(written.join('')).toBe(
      [
        '  model 1  scripted  1.23 s  120 tokens → web_search, knowledge_base',
        '  tool     web_search  0.01 s  failed: not_configured',
        '  tool     knowledge_base  0.03 s  ok (cut)',
        '',
      ].join('\n'),
    );
  });

  it('shows on a terminal what goes on, within one line and without control characters', () => {
    const { written, progress: shown } = progress(20);
    shown.show(live({ kind: 'model_started', text: 'm' }));
    shown.show(live({ kind: 'delta', text: 'a long text that \u001b[31mdoes not fit' }));
    const last = written.at(-1)!.replace('\r\u001b[K', '');
    expect(last.length).toBeLessThan(20);
    expect(last).not.toContain('\u001b');
    shown.line('done');
    expect(written.slice(-2)).toEqual(['\r\u001b[K', 'done\n']);
  });
});

describe('a model that is away', () => {
  const line = (seconds: number, attempt: number) =>
    `  waiting  The model API is unreachable: ECONNREFUSED; trying again in ${seconds} s (attempt ${attempt} of 30 failed; gives up in 14 min at the latest)`;

  it('is told once per attempt where lines stay', () => {
    const { written, progress: shown } = progress(null);
    for (const [attempt, ms] of [
      [1, 300],
      [2, 7000],
      [2, 2000],
    ] as const)
      shown.show(retry(attempt, ms));
    shown.show(entry(1, model));
    shown.show(retry(1, 500));
    expect(written.join('').split('\n')).toEqual([
      line(1, 1),
      line(7, 2),
      expect.stringMatching('model 1'),
      line(1, 1),
      '',
    ]);
  });

  it('is counted down on a terminal', () => {
    const { written, progress: shown } = progress(200);
    for (const ms of [7000, 2000]) shown.show(retry(2, ms));
    expect(written).toEqual([line(7, 2), line(2, 2)].map((text) => `\r\u001b[K${text}`));
  });
});

describe('closingLine', () => {
  const result: AgentResult = {
    task_id: 't',
    status: 'failed',
    output: null,
    error: 'model_unavailable',
    steps_used: 1,
    tokens_used: 0,
    tool_calls: 2,
    duration_ms: 61_000,
  };

  it('tells the error, its detail and what the task took', () => {
    expect(closingLine(result, 'the model is away')).toBe(
      '✗ failed (model_unavailable: the model is away): 1 step, 2 tool calls, 0 tokens, 61 s',
    );
  });

  it('does not say twice that a task was cancelled', () => {
    expect(
      closingLine({ ...result, status: 'cancelled', error: 'cancelled' }, 'Cancelled on request'),
    ).toMatch(/^✗ cancelled: 1 step,/);
  });

  it('is short for a completed task', () => {
    expect(closingLine({ ...result, status: 'completed', error: null }, null)).toMatch(
      /^✓ completed: 1 step,/,
    );
  });
});
