import { APIConnectionError } from 'openai';
import { modelError, retryAfter } from './openai-errors.js';

describe('modelError', () => {
  it('names the network error, and nothing that was sent', () => {
    const cause = Object.assign(new Error('secret words'), { code: 'ECONNREFUSED' });
    const error = modelError(new APIConnectionError({ message: 'secret words', cause }));
    expect(error).toMatchObject({ code: 'model_unavailable', retryable: true });
    expect(error.message).toBe('The model API is unreachable: ECONNREFUSED');
  });
});

describe('retryAfter', () => {
  const now = Date.parse('2026-11-23T10:00:00Z');
  const read = (headers: Record<string, string>) => retryAfter(new Headers(headers), now);

  it.each<[Record<string, string>, number | undefined]>([
    [{ 'retry-after': '2' }, 2_000],
    [{ 'retry-after': '0.5' }, 500],
    [{ 'retry-after': 'Mon, 23 Nov 2026 10:00:07 GMT' }, 7_000],
    [{ 'retry-after': 'Mon, 23 Nov 2026 09:00:00 GMT' }, 0],
    [{ 'retry-after': '9', 'retry-after-ms': '120' }, 120],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '-1' }, undefined],
    [{}, undefined],
  ])('%p is %p ms', (headers, wanted) => {
    expect(read(headers)).toBe(wanted);
  });

  it('knows nothing of an error without an answer', () => {
    expect(retryAfter(undefined)).toBeUndefined();
  });
});
