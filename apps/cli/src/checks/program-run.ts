import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '#libs/chassis';

/**
 * Runs `node [flags] <script>` in the project's folder on this terminal and answers its exit code. Ctrl-C reaches the program itself;
 * this process waits for what it makes of it.
 */
export async function runNode(
  script: string,
  args: string[],
  flags: readonly string[] = [],
): Promise<number> {
  const child = spawn(process.execPath, [...flags, join(projectRoot(), script), ...args], {
    cwd: projectRoot(),
    stdio: 'inherit',
  });
  const leaveToChild = () => undefined;
  const passOn = (signal: NodeJS.Signals) => void child.kill(signal);
  process.on('SIGINT', leaveToChild).on('SIGTERM', passOn);
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    return code ?? 128 + constants.signals[signal ?? 'SIGKILL'];
  } finally {
    process.off('SIGINT', leaveToChild).off('SIGTERM', passOn);
  }
}
