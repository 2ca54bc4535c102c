import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatonHome } from './home.js';
import { withLock } from './lock.js';
import { own } from './processes.js';

let home: BatonHome;
beforeEach(() => (home = new BatonHome(mkdtempSync(join(tmpdir(), 'baton-home-')))));
afterEach(() => rmSync(home.folder, { recursive: true }));

describe('BatonHome', () => {
  it('makes a secret once, for its owner alone', () => {
    const secret = home.secret('internal-secret');
    expect(secret).toMatch(/^[0-9a-f]{64}$/);
    expect(home.secret('internal-secret')).toBe(secret);
    expect(statSync(home.path('internal-secret')).mode & 0o777).toBe(0o600);
  });

  it('refuses a damaged secret', () => {
    writeFileSync(home.path('internal-secret'), 'short');
    expect(() => home.secret('internal-secret')).toThrow(/damaged/);
  });

  it('reads a half-written record as absent', () => {
    home.write('host', { pid: 1 });
    expect(home.read('host')).toEqual({ pid: 1 });
    writeFileSync(home.path('host.json'), '{"pid"');
    expect(home.read('host')).toBeNull();
  });
});

describe('withLock', () => {
  it('lets one in at a time', async () => {
    const file = home.path('test.lock');
    let inside = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, (inside += 1));
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside -= 1;
    };
    await Promise.all([withLock(file, work), withLock(file, work), withLock(file, work)]);
    expect(most).toBe(1);
  });

  it('takes over the lock of a process that has ended', async () => {
    const file = home.path('test.lock');
    writeFileSync(file, JSON.stringify({ pid: process.pid, started: 'an earlier process with this pid' }));
    await expect(withLock(file, () => Promise.resolve('done'))).resolves.toBe('done');
  });

  it('gives up when the holder goes on', async () => {
    const file = home.path('test.lock');
    writeFileSync(file, JSON.stringify(own(process.pid)));
    await expect(withLock(file, () => Promise.resolve(), 200)).rejects.toMatchObject({ code: 'locked' });
    expect(readFileSync(file, 'utf8')).toContain(String(process.pid));
  });
});
