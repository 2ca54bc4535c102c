import { call, reply, results } from './journal.fixture.js';
import { apply, INITIAL, replay } from './state.js';

const asking = reply({ tool_calls: [call('a', '{}', '1'), call('b', '{}', '2')] });

describe('the fold over a journal', () => {
  it('begins with nothing', () => {
    expect(replay([])).toEqual({ seq: 0, turns: [], tokensUsed: 0, toolCalls: 0, finish: null });
  });

  it('counts sequence, steps, tokens and tool calls', () => {
    const state = replay([asking, results(asking), reply({ content: 'done' })]);
    expect(state).toMatchObject({ seq: 3, tokensUsed: 200, toolCalls: 2, finish: null });
    expect(state.turns).toHaveLength(2);
  });

  it('joins results to the reply that asked for them', () => {
    expect(replay([asking, results(asking)]).turns).toEqual([{ reply: asking, results: results(asking) }]);
  });

  it('keeps the terminal entry', () => {
    const finish = { kind: 'finish', result: { task_id: 't' } as never, error_detail: null } as const;
    expect(replay([reply({ content: 'x' }), finish]).finish).toBe(finish);
  });

  it('leaves the state that it is given as it was', () => {
    const before = structuredClone(INITIAL);
    apply(apply(INITIAL, asking), results(asking));
    expect(INITIAL).toEqual(before);
  });

  it.each([
    ['before any reply', [results(asking)]],
    ['twice for one reply', [asking, results(asking), results(asking)]],
  ])('refuses results %s', (_, bodies) => {
    expect(() => replay(bodies)).toThrow(/without a reply/);
  });
});
