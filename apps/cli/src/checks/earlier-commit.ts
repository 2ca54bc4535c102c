import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '#libs/chassis';

const MAIN = ['origin/main', 'origin/master', 'main', 'master'];

/** Standard output of git, without the last line break; null when it fails. */
export function git(root: string, ...args: string[]): string | null {
  try {
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore'];
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio }).trim();
  } catch {
    return null;
  }
}

/**
 * The commit with which a contract is compared: where this branch left the main branch; on the main branch itself, the one before. Or why there is none.
 * @param path folder of the contract, from the root. @param root a checkout
 */
export function earlierCommit(path: string, root = projectRoot()): { commit: string } | { skipped: string } {
  // A repository further up, with this folder somewhere in it, is another project's.
  if (!existsSync(join(root, '.git')) || git(root, 'rev-parse', '--git-dir') === null)
    return { skipped: 'this is no git checkout' };
  const head = git(root, 'rev-parse', 'HEAD');
  if (!head) return { skipped: 'there is no commit yet' };
  const forks = MAIN.map((branch) => git(root, 'merge-base', 'HEAD', branch)).filter((fork) => fork !== null);
  const commit =
    forks.find((fork) => fork !== head) ?? git(root, 'rev-parse', '--verify', '--quiet', 'HEAD~1');
  if (!commit) return { skipped: 'the history that is here has no earlier commit' };
  if (!git(root, 'ls-tree', commit, path))
    return { skipped: `commit ${commit.slice(0, 10)} has no ${path}/ yet` };
  return { commit };
}
