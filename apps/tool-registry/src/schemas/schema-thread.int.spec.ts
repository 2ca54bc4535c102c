import { SchemaThread } from './schema-thread.js';

/** Each level is checked twice by the one above: 2³⁰ checks. */
const LEVELS = 30;
const exponential = {
  $defs: Object.fromEntries(
    Array.from({ length: LEVELS }, (_, i) => {
      const next = { $ref: `#/$defs/d${i + 1}` };
      return [`d${i}`, i === LEVELS - 1 ? { type: 'object' } : { allOf: [next, next] }];
    }),
  ),
  $ref: '#/$defs/d0',
};
const text = { type: 'string' };

describe('SchemaThread', () => {
  const thread = new SchemaThread();
  afterAll(() => thread.close());

  it('checks values, in the order of the calls', async () => {
    const answers = await Promise.all(
      ['a', 1, 'b'].map((value) => thread.check('text', text, value, 'arguments')),
    );
    expect(answers).toEqual([
      { errors: [] },
      { errors: [{ field: 'arguments', message: 'must be string' }] },
      { errors: [] },
    ]);
  });

  it('ends a check that takes too long, this thread stays free, and the checks behind it are answered', async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 20);
    const [slow, behind] = await Promise.all([
      thread.check('exponential', exponential, {}, 'arguments'),
      thread.check('text', text, 1, 'arguments'),
    ]);
    clearInterval(timer);
    expect(slow).toEqual({ rejected: 'checking takes longer than 250 ms' });
    expect(behind).toEqual({ errors: [{ field: 'arguments', message: 'must be string' }] });
    expect(ticks).toBeGreaterThan(10);
  });

  it('answers why a schema is not taken', async () => {
    expect(await thread.vet({ pattern: '^(a+)+$' })).toEqual({
      rejected: expect.stringContaining('backtrack'),
    });
    expect(await thread.vet({ type: 'objekt' })).toEqual({
      rejected: expect.stringContaining('schema is invalid'),
    });
    expect(await thread.vet(text)).toEqual({ errors: [] });
  });

  it('refuses work when it is closed', async () => {
    const closed = new SchemaThread();
    await closed.close();
    await expect(closed.vet(text)).rejects.toMatchObject({ code: 'schema-check-unavailable' });
  });
});
