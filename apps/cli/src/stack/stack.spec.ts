import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { own } from '#libs/devstack';
import { Stack, type HostRecord } from './stack.js';

describe('a host on its way up', () => {
  let stack: Stack;
  beforeEach(() => (stack = new Stack({ BATON_HOME: mkdtempSync(join(tmpdir(), 'baton-stack-')) })));
  afterEach(() => rmSync(stack.home.folder, { recursive: true }));

  it('is known until it is up', () => {
    const starting = own(process.pid);
    stack.recordStarting(starting);
    expect(stack.startingHost()).toEqual(starting);
    stack.recordHost({ ...starting, services: [] } as unknown as HostRecord);
    expect(stack.startingHost()).toBeNull();
    expect(stack.host()).toMatchObject(starting);
  });

  it('that has ended is none', () => {
    stack.recordStarting({ pid: process.pid, started: 'long ago' });
    expect(stack.startingHost()).toBeNull();
  });
});
