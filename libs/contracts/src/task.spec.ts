import { parseTaskId, SESSION_ID } from './task.js';

describe('parseTaskId', () => {
  it('answers the id as it is stored', () => {
    expect(parseTaskId('0A000000-0000-4000-8000-00000000000F')).toBe('0a000000-0000-4000-8000-00000000000f');
  });

  it.each([
    '',
    'x',
    '0a000000-0000-4000-8000-00000000000',
    '0a000000-0000-4000-8000-00000000000f\n',
    '../tasks',
  ])('refuses %j and names the field', (text) => {
    expect(() => parseTaskId(text)).toThrow(
      expect.objectContaining({
        status: 400,
        code: 'validation',
        errors: [expect.objectContaining({ field: 'task_id' })],
      }),
    );
  });
});

describe('SESSION_ID', () => {
  it.each(['a', 'A.b_c@d-1', 'x'.repeat(128)])('takes %j', (id) => expect(id).toMatch(SESSION_ID));

  it.each(['', 'a:b', 'a b', 'a\r\n', 'x'.repeat(129)])('refuses %j', (id) =>
    expect(id).not.toMatch(SESSION_ID),
  );
});
