import { stopOnSignal } from '#libs/chassis';
import { devPort, withLock } from '#libs/devstack';
import { developerToken } from '../identity/developer.js';
import { ensureHost } from './detach.js';
import { hostStack } from './host.js';
import { changedSettings, Stack, type HostRecord } from './stack.js';
import { summary } from './summary.js';

/** Starts the stack and prints how to use it; a stack that is up is only described. */
export async function up(detach: boolean): Promise<void> {
  const stack = new Stack();
  const wasUp = stack.host() !== null;
  if (!wasUp && !detach) return upInForeground(stack);
  const host = await ensureHost(stack, notice);
  if (!wasUp)
    await describe(
      stack,
      host,
      `Baton is up in the background (process ${host.pid}; log ${stack.home.path('host.log')}; ./baton down stops it).`,
    );
  else await describeRunning(stack, host);
}

async function upInForeground(stack: Stack): Promise<void> {
  notice('Starting Postgres, Redis and the services …');
  const quiet = new Stack({ ...stack.env, LOG_LEVEL: stack.env['LOG_LEVEL'] ?? 'warn' });
  const starting = withLock(stack.home.path('up.lock'), async () =>
    stack.host() ? null : hostStack(quiet, notice),
  );
  stopOnSignal(async () => {
    notice('Stopping …');
    const hosted = await starting;
    await hosted?.services.stop();
    if (hosted) stack.forgetHost();
    await hosted?.infrastructure.stop();
  });
  const hosted = await starting;
  if (hosted) await describe(stack, hosted.record, 'Baton is up. Ctrl-C stops it.');
  else await describeRunning(stack, stack.host()!);
}

async function describeRunning(stack: Stack, host: HostRecord): Promise<void> {
  await describe(stack, host, `Baton is up already (process ${host.pid}).`);
  const changed = changedSettings(host, stack);
  if (changed) notice(changed);
}

async function describe(stack: Stack, host: HostRecord, title: string): Promise<void> {
  const token = await developerToken(stack, host);
  const { settings } = stack;
  const { portOffset } = host;
  process.stdout.write(
    summary({
      title,
      host,
      databaseUrl: settings.databaseUrl ?? `postgres://127.0.0.1:${devPort('postgres', portOffset)}/baton`,
      redisUrl: settings.redisUrl ?? `redis://127.0.0.1:${devPort('redis', portOffset)}`,
      token,
    }),
  );
}

function notice(line: string): void {
  process.stderr.write(`${line}\n`);
}
