import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '#libs/contracts';
import { projectRoot } from '#libs/chassis';
import { incompatibilities, SCHEMA_FOLDER } from '#libs/messaging';
import { earlierCommit, git } from './earlier-commit.js';

/** Schemas by the name of their file. */
type Schemas = Record<string, string>;

/** Why this version could not read what an earlier one wrote, one line per field; empty when it can. */
export function schemaBreaks(before: Schemas, now: Schemas): string[] {
  return Object.entries(before).flatMap(([file, text]) => {
    const current = now[file];
    if (current === undefined) return [`${file}: is gone, and topics still hold its messages`];
    try {
      const reasons = incompatibilities(JSON.parse(current) as object as never, JSON.parse(text) as never);
      return reasons.map((reason) => `${file}: ${reason}`);
    } catch (error) {
      return [`${file}: ${messageOf(error)}`];
    }
  });
}

/** Compares the checkout with `commit` and prints what breaks; exit code 1 then. */
export function checkSchemas(commit: string, root = projectRoot()): number {
  const files = (git(root, 'ls-tree', '--name-only', commit, `${SCHEMA_FOLDER}/`) ?? '')
    .split('\n')
    .filter((path) => path.endsWith('.avsc'));
  const read = (path: string) => {
    try {
      return readFileSync(join(root, path), 'utf8');
    } catch {
      return undefined;
    }
  };
  const before = Object.fromEntries(
    files.map((path) => [path, git(root, 'show', `${commit}:${path}`) ?? '']),
  );
  const now = Object.fromEntries(
    files.flatMap((path) => {
      const text = read(path);
      return text === undefined ? [] : [[path, text] as const];
    }),
  );
  const breaks = schemaBreaks(before, now);
  for (const line of breaks) process.stderr.write(`${line}\n`);
  if (breaks.length === 0)
    process.stderr.write(`${files.length} schemas can read what those of ${commit.slice(0, 10)} wrote\n`);
  return breaks.length === 0 ? 0 : 1;
}

/** The commit for `./baton verify`, or why there is nothing to compare with. */
export const schemaBaseline = (): { commit: string } | { skipped: string } => earlierCommit(SCHEMA_FOLDER);
