import type { EntryBody, JournalEntry, TaskView } from '#libs/contracts';
import type { Effect } from '#libs/testing';
import { faultsOf, type History } from './history.js';

const RESULT = {
  task_id: 'a',
  status: 'completed',
  output: 'done',
  error: null,
  steps_used: 2,
  tokens_used: 9,
  tool_calls: 1,
  duration_ms: 5,
} as const;
const call = (text: string): EntryBody => ({
  kind: 'model',
  content: null,
  tool_calls: [{ id: 'c', name: 'test_record', arguments: JSON.stringify({ text }) }],
  finish_reason: 'tool_calls',
  usage: { prompt_tokens: 1, completion_tokens: 1 },
  model: 'm',
  duration_ms: 1,
});
const told = (code: string): EntryBody => ({
  kind: 'tools',
  results: [
    {
      call_id: 'c',
      name: 'test_record',
      duration_ms: 1,
      outcome: code === 'ok' ? { ok: true, result: null } : { ok: false, code, message: '' },
    },
  ],
});
const finish: EntryBody = { kind: 'finish', result: RESULT, error_detail: null };
const journalOf = (...bodies: EntryBody[]): JournalEntry[] =>
  bodies.map((body, i) => ({ seq: i + 1, at: '', body }));
const effectsOf = (...texts: string[]): Effect[] =>
  texts.map((text) => ({ key: text, text, tenant: 'dev', userId: null }));

const good: History = {
  view: RESULT as unknown as TaskView,
  journal: journalOf(call('x'), told('ok'), call('y'), finish),
  effects: effectsOf('x'),
};

describe('the checker of the chaos suite', () => {
  it('is content with a good history', () => expect(faultsOf(good, 'done')).toEqual([]));

  it.each<[string, Partial<History>, string]>([
    ['a task that did not end', { view: { ...good.view, status: 'running' } }, 'not ended: running'],
    [
      'a failed task',
      { view: { ...good.view, status: 'failed', error: 'internal' } },
      'ended failed internal',
    ],
    ['another answer', { view: { ...good.view, output: 'else' } }, 'wrong answer: else'],
    ['steps that do not count', { view: { ...good.view, steps_used: 3 } }, '3 steps counted, 2 made'],
    [
      'two ends',
      { journal: journalOf(call('x'), told('ok'), finish, finish) },
      'journal model,tools,finish,finish',
    ],
    ['no end', { journal: journalOf(call('x'), told('ok'), call('y')) }, 'journal model,tools,model'],
    ['an entry that is missing', { journal: good.journal.filter((_, i) => i !== 1) }, 'sequence 1,3,4'],
    ['an effect that happened twice', { effects: effectsOf('x', 'x') }, 'effect x happened 2 times'],
    ['an effect that was lost', { effects: [] }, 'effect x is lost'],
    [
      'an effect that nobody asked for',
      { effects: effectsOf('x', 'z') },
      'effect z without a journalled call',
    ],
    [
      'an effect that the model was told had failed',
      { journal: journalOf(call('x'), told('timeout'), call('y'), finish) },
      'effect x happened, and the model was told timeout',
    ],
  ])('finds %s', (_, change, fault) => expect(faultsOf({ ...good, ...change }, 'done')).toContain(fault));

  it('takes an unknown outcome for at most one effect', () => {
    const journal = journalOf(call('x'), told('outcome_unknown'), call('y'), finish);
    for (const effects of [effectsOf(), effectsOf('x')])
      expect(faultsOf({ ...good, journal, effects }, 'done')).toEqual([]);
    expect(faultsOf({ ...good, journal, effects: effectsOf('x', 'x') }, 'done')).toHaveLength(1);
  });
});
