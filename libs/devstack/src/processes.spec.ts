import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { isRunning, own, signalProcess, stopProcess } from './processes.js';

describe('an owned process', () => {
  let child: ChildProcess;
  beforeEach(async () => {
    child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    await once(child, 'spawn');
  });
  afterEach(() => child.kill('SIGKILL'));

  it('is running until it ends', async () => {
    const process = own(child.pid!);
    expect(isRunning(process)).toBe(true);
    await stopProcess(process, 'SIGTERM', 5000);
    expect(isRunning(process)).toBe(false);
  });

  it('is killed when it does not end by itself', async () => {
    child.kill('SIGSTOP');
    const process = own(child.pid!);
    await stopProcess(process, 'SIGTERM', 100);
    expect(isRunning(process)).toBe(false);
  });

  it('is not signalled when the pid has become another process', () => {
    const before = { pid: child.pid!, started: 'another time' };
    expect(isRunning(before)).toBe(false);
    expect(signalProcess(before, 'SIGKILL')).toBe(false);
    expect(isRunning(own(child.pid!))).toBe(true);
  });
});
