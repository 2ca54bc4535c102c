import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '#libs/chassis';
import { earlierCommit, git } from './earlier-commit.js';

/** The definitions of before as an archive that buf reads, or why there is nothing to compare with. */
export type ProtoBaseline = { archive: string; commit: string } | { skipped: string };

/**
 * `proto/` as it was in the earlier commit.
 * @param root a checkout. @param folder where the archive is written; by default a new one below the system's
 */
export function protoBaseline(root = projectRoot(), folder?: string): ProtoBaseline {
  const earlier = earlierCommit('proto', root);
  if ('skipped' in earlier) return earlier;
  const { commit } = earlier;
  const archive = join(folder ?? mkdtempSync(join(tmpdir(), 'baton-proto-')), 'proto.tar');
  if (git(root, 'archive', '--format=tar', '-o', archive, commit, 'proto', 'buf.yaml') === null)
    return { skipped: `commit ${commit.slice(0, 10)} cannot be read` };
  return { archive, commit };
}
