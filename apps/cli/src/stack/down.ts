import { runningInfrastructure, SERVERS, stopInfrastructure, stopProcess, withLock } from '#libs/devstack';
import { serverLabels } from './labels.js';
import { Stack } from './stack.js';

/** Services drain for up to 15 s in turn. */
const DRAIN_MS = 60_000;

/** Drains and ends the services, then the servers: those that `BATON_HOME` records, and no others. */
export async function down(): Promise<void> {
  const stack = new Stack();
  await withLock(stack.home.path('up.lock'), async () => {
    const host = stack.host() ?? stack.startingHost();
    const servers = runningInfrastructure(stack.home);
    const running = SERVERS.filter((name) => servers[name]).toReversed();
    const stopped = [...(host ? ['services'] : []), ...serverLabels(running).toReversed()];
    if (host) {
      process.stderr.write('Draining the services …\n');
      await stopProcess(host, 'SIGTERM', DRAIN_MS);
    }
    stack.forgetHost();
    await stopInfrastructure(stack.home);
    process.stdout.write(stopped.length > 0 ? `Stopped: ${stopped.join(', ')}.\n` : 'Nothing is up.\n');
  });
}
