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

  it('has Kafka when the one that crashed had it', () => {
    const crashed = (ownServers: object) =>
      ({ pid: process.pid, started: 'long ago', services: [], ownServers }) as unknown as HostRecord;
    expect(stack.hasKafka(false)).toBe(false);
    expect(stack.hasKafka(true)).toBe(true);
    stack.recordHost(crashed({ postgres: true, redis: true, kafka: true, schemaRegistry: true }));
    expect(stack.hasKafka(false)).toBe(true);
    stack.recordHost(crashed({ postgres: true, redis: true, kafka: false, schemaRegistry: false }));
    expect(stack.hasKafka(false)).toBe(false);
    stack.forgetHost();
    expect(stack.hasKafka(false)).toBe(false);
  });
});
