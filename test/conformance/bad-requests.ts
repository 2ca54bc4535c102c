import type { TaskRequest } from './doors/door.js';

const good = { prompt: 'x' };
const entries = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 'v']));

/** Requests that every transport can express and every door refuses: what is wrong, the request, the code, the fields named. */
export const BAD_REQUESTS: Array<[what: string, request: TaskRequest, code: string, fields: string[]]> = [
  ['an empty prompt', { prompt: '' }, 'validation', ['prompt']],
  ['a blank prompt', { prompt: ' \n\t ' }, 'validation', ['prompt']],
  ['a prompt that is too long', { prompt: 'x'.repeat(100_001) }, 'validation', ['prompt']],
  ['a NUL in the prompt', { prompt: 'a\0b' }, 'malformed-request', []],
  ['max_steps 0', { ...good, max_steps: 0 }, 'validation', ['max_steps']],
  ['max_steps 26', { ...good, max_steps: 26 }, 'validation', ['max_steps']],
  ['max_steps -1', { ...good, max_steps: -1 }, 'validation', ['max_steps']],
  ['token_budget 511', { ...good, token_budget: 511 }, 'validation', ['token_budget']],
  ['token_budget 32769', { ...good, token_budget: 32_769 }, 'validation', ['token_budget']],
  ['token_budget -5', { ...good, token_budget: -5 }, 'validation', ['token_budget']],
  ['a session id with a colon', { ...good, session_id: 'a:b' }, 'validation', ['session_id']],
  ['a session id with CRLF', { ...good, session_id: 'a\r\nb' }, 'validation', ['session_id']],
  ['a session id that is too long', { ...good, session_id: 's'.repeat(129) }, 'validation', ['session_id']],
  ['65 metadata keys', { ...good, metadata: entries(65) }, 'validation', ['metadata']],
  [
    'a metadata value that is too long',
    { ...good, metadata: { k: 'v'.repeat(1025) } },
    'validation',
    ['metadata'],
  ],
  ['an empty metadata key', { ...good, metadata: { '': 'v' } }, 'validation', ['metadata']],
  [
    'three faults at once',
    { prompt: ' ', max_steps: 99, token_budget: 1 },
    'validation',
    ['max_steps', 'prompt', 'token_budget'],
  ],
];
