import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { own } from '#libs/devstack';
import { Stack } from './stack.js';
import { modelLine, stackRows } from './status.js';

/** Of a process that has ended: no other ever starts at this time. */
const ENDED = { pid: 1, started: 'long ago' };

describe('stackRows', () => {
  let stack: Stack;
  beforeEach(() => {
    const home = mkdtempSync(join(tmpdir(), 'baton-status-'));
    stack = new Stack({ BATON_HOME: home, BATON_PORT_OFFSET: '31000' });
  });
  afterEach(() => rmSync(stack.home.folder, { recursive: true }));

  it('says of what was never started, and of what was stopped, that it is not started', async () => {
    const rows = await stackRows(stack);
    expect(rows.length).toBeGreaterThan(5);
    for (const row of rows) expect(row).toMatchObject({ state: 'down', cause: 'not started' });
  });

  it('says of what the background process is starting that it is', async () => {
    stack.recordStarting(own(process.pid));
    for (const row of await stackRows(stack)) expect(row).toMatchObject({ state: 'starting' });
  });

  it('says of what was started and not stopped that it crashed, where its log is and what to do', async () => {
    for (const name of ['postgres', 'redis', 'kafka', 'schema-registry', 'host'])
      stack.home.write(name, { ...ENDED, port: 1, services: [] });
    const rows = await stackRows(stack);
    for (const row of rows)
      expect(row).toMatchObject({
        state: 'crashed',
        cause: expect.stringMatching(/^process 1 stopped unexpectedly, see .*\.log$/),
        fix: expect.stringMatching(/^\.\/baton up --detach( --kafka)?$/),
      });
    const logs = rows.map(({ cause }) => cause.split('/').at(-1));
    expect(new Set(logs)).toEqual(
      new Set(['postgres.log', 'redis.log', 'kafka.log', 'schema-registry.log', 'host.log']),
    );
  });
});

describe('modelLine', () => {
  const agent = { name: 'agent-search', address: '', cause: '', fix: '' };
  const notReady = (name: string) => ({
    ...agent,
    state: 'not ready' as const,
    missing: [{ name, cause: 'ECONNREFUSED', fix: 'start it' }],
  });

  it('says of the real model what the agents know', () => {
    expect(modelLine([{ ...agent, state: 'up' }])).toBe('A real model answers.');
    expect(modelLine([notReady('model')])).toBe(
      'The real model does not answer: ECONNREFUSED. To do: start it',
    );
    expect(modelLine([notReady('redis')])).toBe('A real model answers.');
    expect(modelLine([notReady('service')])).toMatch(/not known/);
  });
});
