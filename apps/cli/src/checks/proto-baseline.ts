import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '#libs/chassis';

/** The definitions of before as an archive that buf reads, or why there is nothing to compare with. */
export type ProtoBaseline = { archive: string; commit: string } | { skipped: string };

const MAIN = ['origin/main', 'origin/master', 'main', 'master'];

/**
 * `proto/` as it was where this branch left the main branch; on the main branch itself, as it was in the commit before.
 * @param root a checkout. @param folder where the archive is written; by default a new one below the system's
 */
export function protoBaseline(root = projectRoot(), folder?: string): ProtoBaseline {
  const git = (...args: string[]): string | null => {
    try {
      return execFileSync('git', args, {
        cwd: root,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    } catch {
      return null;
    }
  };
  // A repository further up, with this folder somewhere in it, is another project's.
  if (!existsSync(join(root, '.git')) || git('rev-parse', '--git-dir') === null)
    return { skipped: 'this is no git checkout' };
  const head = git('rev-parse', 'HEAD');
  if (!head) return { skipped: 'there is no commit yet' };
  const forks = MAIN.map((branch) => git('merge-base', 'HEAD', branch)).filter((commit) => commit !== null);
  const commit = forks.find((fork) => fork !== head) ?? git('rev-parse', '--verify', '--quiet', 'HEAD~1');
  if (!commit) return { skipped: 'the history that is here has no earlier commit' };
  if (!git('ls-tree', commit, 'proto', 'buf.yaml'))
    return { skipped: `commit ${commit.slice(0, 10)} has no proto/ yet` };
  const archive = join(folder ?? mkdtempSync(join(tmpdir(), 'baton-proto-')), 'proto.tar');
  if (git('archive', '--format=tar', '-o', archive, commit, 'proto', 'buf.yaml') === null)
    return { skipped: `commit ${commit.slice(0, 10)} cannot be read` };
  return { archive, commit };
}
