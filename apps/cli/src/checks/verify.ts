import { runNode } from './program-run.js';

interface Step {
  name: string;
  script: string;
  args: string[];
  fix: string;
}

/** What CI checks, the quick ones first. */
export const STEPS: Step[] = [
  {
    name: 'format',
    script: 'node_modules/prettier/bin/prettier.cjs',
    args: ['--check', '.'],
    fix: 'npm run format',
  },
  {
    name: 'lint',
    script: 'node_modules/oxlint/bin/oxlint',
    args: ['--type-aware', 'apps', 'libs', 'test', 'bench'],
    fix: 'npm run lint -- --fix',
  },
  {
    name: 'types',
    script: 'node_modules/typescript/bin/tsc',
    args: ['--noEmit', '-p', '.'],
    fix: 'npm run typecheck',
  },
  {
    name: 'boundaries',
    script: 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs',
    args: ['--config', '.dependency-cruiser.cjs', 'apps', 'libs'],
    fix: 'npm run boundaries',
  },
  { name: 'tests', script: 'node_modules/jest/bin/jest.js', args: [], fix: './baton test' },
];

/**
 * Stops at the first step that fails and names the command that fixes it or shows it again.
 * @param staticOnly leaves the tests out.
 */
export async function verify(
  staticOnly: boolean,
  run: (script: string, args: string[]) => Promise<number> = runNode,
): Promise<number> {
  const steps = STEPS.filter(({ name }) => !staticOnly || name !== 'tests');
  for (const { name, script, args, fix } of steps) {
    process.stderr.write(`\n▸ ${name}\n`);
    const code = await run(script, args);
    if (code !== 0) {
      process.stderr.write(`\n✗ ${name} failed. Next: ${fix}\n`);
      return code;
    }
  }
  process.stderr.write(`\n✓ ${steps.map(({ name }) => name).join(', ')}\n`);
  return 0;
}
