import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

let cached: string | undefined;

/**
 * The folder of Baton's `package.json`, found upwards from the program that was started. Code cannot ask
 * `import.meta`: Jest runs it as CommonJS.
 * @throws Error when the program was started from outside a Baton checkout or image.
 */
export function projectRoot(): string {
  if (cached) return cached;
  for (const start of [dirname(resolve(process.argv[1] ?? '.')), process.cwd()]) {
    for (let folder = start; ; folder = dirname(folder)) {
      const manifest = join(folder, 'package.json');
      if (
        existsSync(manifest) &&
        (JSON.parse(readFileSync(manifest, 'utf8')) as { name?: string }).name === 'baton'
      )
        return (cached = folder);
      if (dirname(folder) === folder) break;
    }
  }
  throw new Error('No Baton package.json above the started program');
}
