import { after, call, LIMITS, reply, results } from './journal.fixture.js';
import { bestOutput, next, parseArguments, type Action } from './next.js';
import type { RunState } from './state.js';

const PROMPT_TOKENS = 50;
const decide = (state: RunState, limits = LIMITS): Action => next(state, limits, () => PROMPT_TOKENS);
const endingOf = (state: RunState, limits = LIMITS) => {
  const action = decide(state, limits);
  if (action.do !== 'finish') throw new Error(`the run goes on with ${action.do}`);
  return action.ending;
};

const asking = reply({ tool_calls: [call()] });
const turn = () => [asking, results(asking)] as const;
const malformed = reply({ tool_calls: [call('lookup', '{"query": ')] });

describe('one step', () => {
  it('asks the model first, with what the budget leaves beside the prompt', () => {
    expect(decide(after())).toEqual({ do: 'model', maxTokens: 8192 - PROMPT_TOKENS });
  });

  it('ends with the answer', () => {
    expect(endingOf(after(reply({ content: 'Paris' })))).toEqual({
      status: 'completed',
      output: 'Paris',
      error: null,
      detail: null,
    });
  });

  it('does nothing once the run has ended', () => {
    const finish = { kind: 'finish', result: {} as never, error_detail: null } as const;
    expect(decide(after(reply({ content: 'x' }), finish))).toEqual({ do: 'nothing' });
  });
});

describe('tools', () => {
  it('makes every call of a reply, in its order', () => {
    const calls = [call('a', '{}', '1'), call('b', '{}', '2'), call('a', '{}', '3')];
    expect(decide(after(reply({ tool_calls: calls })))).toEqual({ do: 'tools', calls });
  });

  it('asks the model again after the results, with what is left of the budget', () => {
    expect(decide(after(...turn()))).toEqual({ do: 'model', maxTokens: 8192 - 100 - PROMPT_TOKENS });
  });

  it('makes calls that a reply has beside its text', () => {
    const both = reply({ content: 'Let me look.', tool_calls: [call()] });
    expect(decide(after(both))).toMatchObject({ do: 'tools' });
  });
});

describe('the token budget', () => {
  const spend = (prompt: number, completion: number) => ({
    usage: { prompt_tokens: prompt, completion_tokens: completion },
  });

  it('is checked before the model is asked: too little for a reply ends the run', () => {
    const state = after(
      reply({ content: 'So far', tool_calls: [call()], ...spend(8000, 130) }),
      results(asking),
    );
    expect(endingOf(state)).toEqual({
      status: 'completed',
      output: 'So far',
      error: 'token_budget_exceeded',
      detail: expect.any(String),
    });
  });

  it('leaves the smallest reply that is worth its prompt', () => {
    const used = (tokens: number) =>
      after(reply({ tool_calls: [call()], ...spend(tokens, 0) }), results(asking));
    expect(decide(used(8192 - PROMPT_TOKENS - 16))).toEqual({ do: 'model', maxTokens: 16 });
    expect(decide(used(8192 - PROMPT_TOKENS - 15))).toMatchObject({ do: 'finish' });
  });

  it('makes no tool calls once it is spent', () => {
    const state = after(reply({ content: 'thinking', tool_calls: [call()], ...spend(8000, 192) }));
    expect(endingOf(state)).toMatchObject({ error: 'token_budget_exceeded', output: 'thinking' });
  });

  it('keeps a valid final answer that went over it', () => {
    expect(endingOf(after(reply({ content: 'The answer', ...spend(8000, 900) })))).toEqual({
      status: 'completed',
      output: 'The answer',
      error: null,
      detail: null,
    });
  });

  it('does not ask what the prompt costs where no model call is due', () => {
    const cost = jest.fn(() => 1);
    next(after(asking), LIMITS, cost);
    next(after(reply({ content: 'x' })), LIMITS, cost);
    expect(cost).not.toHaveBeenCalled();
  });
});

describe('max steps', () => {
  const limits = { ...LIMITS, maxSteps: 2 };

  it('ends the run when the last step asks for tools, and does not make their effects', () => {
    const last = reply({ content: 'nearly', tool_calls: [call()] });
    expect(endingOf(after(...turn(), last), limits)).toEqual({
      status: 'completed',
      output: 'nearly',
      error: 'max_steps_reached',
      detail: 'No answer within 2 steps',
    });
  });

  it('keeps an answer given at the last step', () => {
    expect(endingOf(after(...turn(), reply({ content: 'done' })), limits)).toMatchObject({
      output: 'done',
      error: null,
    });
  });

  it('goes on before the last step', () => {
    expect(decide(after(asking), limits)).toMatchObject({ do: 'tools' });
  });
});

describe('finish reasons', () => {
  const spent = { usage: { prompt_tokens: 8000, completion_tokens: 192 } };

  it.each([
    ['length', {}, 'failed', 'output_truncated'],
    ['length', spent, 'completed', 'token_budget_exceeded'],
    ['content_filter', {}, 'failed', 'content_filtered'],
    ['content_filter', spent, 'failed', 'content_filtered'],
    ['stop', { content: null }, 'failed', 'empty_reply'],
    ['stop', { content: ' \n\t' }, 'failed', 'empty_reply'],
    ['tool_calls', { content: null }, 'failed', 'empty_reply'],
  ] as const)('%s with %j ends %s with %s', (finish_reason, more, status, error) => {
    expect(endingOf(after(reply({ content: 'Half an', finish_reason, ...more })))).toMatchObject({
      status,
      error,
    });
  });

  it('keeps what a cut reply said', () => {
    expect(endingOf(after(reply({ content: 'Half an', finish_reason: 'length' })))).toMatchObject({
      output: 'Half an',
    });
  });

  it.each(['length', 'content_filter'] as const)('makes none of the calls of a %s reply', (finish_reason) => {
    expect(decide(after(reply({ tool_calls: [call(), call()], finish_reason })))).toMatchObject({
      do: 'finish',
    });
  });

  it('takes the best output of an earlier step for a reply without one', () => {
    const said = reply({ content: 'Rome, I think', tool_calls: [call()] });
    expect(endingOf(after(said, results(said), reply({ content: null })))).toMatchObject({
      status: 'failed',
      error: 'empty_reply',
      output: 'Rome, I think',
    });
  });
});

describe('tool arguments that are no JSON object', () => {
  it('are told to the model once', () => {
    expect(decide(after(malformed))).toMatchObject({ do: 'tools' });
    expect(decide(after(malformed, results(malformed)))).toMatchObject({ do: 'model' });
  });

  it('fail the run the second time in a row, before any call of that reply is made', () => {
    const again = reply({ tool_calls: [call('write', '{}', '1'), call('lookup', '[1', '2')] });
    expect(endingOf(after(malformed, results(malformed), again))).toMatchObject({
      status: 'failed',
      error: 'tool_arguments_malformed',
    });
  });

  it('are forgiven by a good reply in between', () => {
    expect(decide(after(malformed, results(malformed), ...turn(), malformed))).toMatchObject({ do: 'tools' });
  });

  it.each([
    ['{"a":1}', { a: 1 }],
    ['', {}],
    ['  \n', {}],
    ['{}', {}],
  ])('%j is an object', (text, value) => {
    expect(parseArguments(text)).toEqual(value);
  });

  it.each(['[]', 'null', '1', '"x"', '{', '{"a":}', "{'a':1}", '{} {}'])('%j is none', (text) => {
    expect(parseArguments(text)).toBeNull();
  });
});

describe('the best output', () => {
  it('is the last text that is not blank', () => {
    const first = reply({ content: 'one', tool_calls: [call()] });
    expect(bestOutput(after(first, results(first), reply({ content: '  ' })))).toBe('one');
  });

  it('is null where the model said nothing', () => {
    expect(bestOutput(after(asking))).toBeNull();
  });
});
