/** The module reads its variable when it is loaded. */
async function load(text?: string) {
  jest.resetModules();
  if (text === undefined) delete process.env['BATON_FAILPOINTS'];
  else process.env['BATON_FAILPOINTS'] = text;
  const { failpoint } = await import('./failpoint.js');
  return failpoint;
}
beforeEach(() => jest.spyOn(process.stderr, 'write').mockReturnValue(true));
afterEach(() => {
  jest.restoreAllMocks();
  delete process.env['BATON_FAILPOINTS'];
});

describe('failpoints', () => {
  it('do nothing while none is armed', async () => {
    const failpoint = await load();
    expect(await failpoint('run.before-llm')).toBeUndefined();
  });

  it('act at their own name only', async () => {
    const failpoint = await load('run.before-llm=throw');
    await failpoint('run.after-llm');
    await expect(failpoint('run.before-llm')).rejects.toThrow('failpoint run.before-llm');
    await expect(failpoint('run.before-llm')).rejects.toThrow('failpoint run.before-llm');
  });

  it('act at the nth passage only', async () => {
    const failpoint = await load('a.b=throw@2');
    await failpoint('a.b');
    await expect(failpoint('a.b')).rejects.toThrow('failpoint a.b');
    await failpoint('a.b');
  });

  it('can be many', async () => {
    const failpoint = await load('a=throw;b=delay:1@1;c=throw@2');
    await expect(failpoint('a')).rejects.toThrow('failpoint a');
    await failpoint('b');
    await failpoint('c');
    await expect(failpoint('c')).rejects.toThrow('failpoint c');
  });

  it('delay, and block the event loop', async () => {
    const failpoint = await load('slow=delay:30;busy=block:30');
    let turned = false;
    setTimeout(() => (turned = true), 0);
    const blocked = failpoint('busy');
    expect(turned).toBe(false);
    await blocked;
    const before = performance.now();
    await failpoint('slow');
    expect(performance.now() - before).toBeGreaterThanOrEqual(25);
    expect(turned).toBe(true);
  });

  it.each(['a', 'a=', 'a=explode', 'a=kill@', 'a=delay:x', '=kill', 'a=throw b=throw', 'a=throw@-1'])(
    'that cannot be read are refused at the start: %j',
    async (text) => {
      await expect(load(text)).rejects.toThrow('BATON_FAILPOINTS: cannot read');
    },
  );

  it('kill and stop by the signal that nobody can catch', () => {
    const kill = jest.spyOn(process, 'kill').mockReturnValue(true);
    return load('a=kill;b=stop')
      .then(async (failpoint) => {
        const passed = jest.fn();
        void failpoint('a').then(passed);
        await failpoint('b');
        expect(kill.mock.calls).toEqual([
          [process.pid, 'SIGKILL'],
          [process.pid, 'SIGSTOP'],
        ]);
        // Nothing after a kill may run, however late the signal comes.
        await new Promise(setImmediate);
        expect(passed).not.toHaveBeenCalled();
      })
      .finally(() => kill.mockRestore());
  });
});
