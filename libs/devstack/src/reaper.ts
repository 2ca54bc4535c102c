import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';

/** A recorded process of a throwaway: `<folder>/<record>.json` holds its pid, its command line holds `command`. */
export interface Reaped {
  record: string;
  signal: 'INT' | 'TERM' | 'KILL';
  command: string;
}

/** Waits for the end of its input, which closes when this process ends, SIGKILL included. */
const SCRIPT = `
cat >/dev/null
stop() {
  pid=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' "$folder/$1.json" 2>/dev/null)
  [ -n "$pid" ] || return 0
  if [ -r "/proc/$pid/cmdline" ] && ! tr '\\0' ' ' <"/proc/$pid/cmdline" | grep -q "$3"; then return 0; fi
  kill "-$2" "$pid" 2>/dev/null || return 0
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null
}
folder=$1
shift
while [ "$#" -gt 0 ]; do
  stop "$1" "$2" "$3"
  shift 3
done
rm -rf -- "$folder"
`;

/** A process that ends `reaped` in their order and deletes `folder` when it is released, or when this process ends, however it ends. */
export function startReaper(folder: string, reaped: Reaped[]): ChildProcess {
  const args = reaped.flatMap(({ record, signal, command }) => [record, signal, command]);
  const reaper = spawn('sh', ['-c', SCRIPT, 'baton-reaper', folder, ...args], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
  });
  reaper.unref();
  (reaper.stdin as Writable & { unref?(): void }).unref?.();
  return reaper;
}

/** Lets the reaper do its work, and waits until it is done; safe to call twice. */
export async function release(reaper: ChildProcess): Promise<void> {
  if (reaper.exitCode !== null) return;
  reaper.ref();
  reaper.stdin?.end();
  await once(reaper, 'exit');
}

/** A shell that kills the child when its input closes: this process may itself be killed, and Jest keeps its 'exit' to itself. */
export function endWithParent(child: ChildProcess): void {
  if (child.pid === undefined) return;
  const reaper = spawn('sh', ['-c', 'read -r _; kill -KILL "$1"', 'baton-reaper', String(child.pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
  });
  reaper.unref();
  (reaper.stdin as Writable & { unref?(): void }).unref?.();
  child.once('exit', () => reaper.kill('SIGKILL'));
}
