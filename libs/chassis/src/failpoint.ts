import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Named places at every await that crosses a process boundary, for the chaos suite. `BATON_FAILPOINTS` holds
 * `name=action[:milliseconds][@nth]` separated by `;` with the actions `kill` (SIGKILL to self), `stop` (SIGSTOP),
 * `throw`, `delay:<ms>`, `block:<ms>` (busy event loop, until `BATON_FAILPOINTS_RELEASE` names a file that exists) and `oom`;
 * `@nth` acts on the nth passage only (default: every passage).
 * Unset, a failpoint is one comparison; one that acts says so on standard error.
 */
interface Armed {
  action: string;
  ms: number;
  nth: number | null;
  passed: number;
}

const armed = parse(process.env['BATON_FAILPOINTS'] ?? '');

function parse(text: string): Map<string, Armed> {
  const points = new Map<string, Armed>();
  for (const part of text.split(';').filter(Boolean)) {
    const match = /^([\w.-]+)=(kill|stop|throw|delay|block|oom)(?::(\d+))?(?:@(\d+))?$/.exec(part);
    if (!match) throw new Error(`BATON_FAILPOINTS: cannot read "${part}"`);
    const [, name, action, ms, nth] = match;
    points.set(name!, { action: action!, ms: Number(ms ?? 0), nth: nth ? Number(nth) : null, passed: 0 });
  }
  return points;
}

/** Passes the failpoint `name`; resolves at once unless it is armed. */
export async function failpoint(name: string): Promise<void> {
  if (armed.size === 0) return;
  const point = armed.get(name);
  if (!point) return;
  point.passed += 1;
  if (point.nth !== null && point.passed !== point.nth) return;
  process.stderr.write(`failpoint ${name}: ${point.action}\n`);
  await act(name, point);
}

async function act(name: string, point: Armed): Promise<void> {
  switch (point.action) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      // The signal is asynchronous: nothing after this line may run.
      await new Promise<never>(() => undefined);
      return;
    case 'stop':
      process.kill(process.pid, 'SIGSTOP');
      return;
    case 'throw':
      throw new Error(`failpoint ${name}`);
    case 'delay':
      await sleep(point.ms);
      return;
    case 'block': {
      const end = Date.now() + point.ms;
      const release = process.env['BATON_FAILPOINTS_RELEASE'];
      while (Date.now() < end && !(release && existsSync(release)));
      return;
    }
    case 'oom': {
      const hoard: unknown[] = [];
      for (;;) hoard.push(Array.from({ length: 100_000 }, (_, i) => ({ i })));
    }
  }
}
