import { runNode } from './program-run.js';
import { protoBaseline } from './proto-baseline.js';
import { schemaBaseline } from './schema-check.js';

interface Step {
  name: string;
  script: string;
  /** A function finds out what there is to check; it may say why there is nothing. */
  args: string[] | (() => string[] | { skipped: string });
  fix: string;
}

const BUF = 'node_modules/@bufbuild/buf/bin/buf';

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
  { name: 'proto', script: BUF, args: ['lint'], fix: 'correct proto/; `npx buf lint` shows it again' },
  {
    name: 'proto-breaking',
    script: BUF,
    args: () => {
      const baseline = protoBaseline();
      return 'skipped' in baseline ? baseline : ['breaking', '--against', baseline.archive];
    },
    fix: 'keep names and numbers of what is there; add, or begin agents.v2',
  },
  {
    name: 'schemas',
    script: 'dist/apps/cli/src/checks/schema-check.main.js',
    args: () => {
      const baseline = schemaBaseline();
      return 'skipped' in baseline ? baseline : [baseline.commit];
    },
    fix: 'give new fields of libs/contracts/src/avro a default, and keep the types of those that are there',
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
  const outcomes: string[] = [];
  for (const { name, script, args, fix } of steps) {
    process.stderr.write(`\n▸ ${name}\n`);
    const found = typeof args === 'function' ? args() : args;
    if ('skipped' in found) {
      process.stderr.write(`SKIPPED: ${found.skipped}\n`);
      outcomes.push(`${name} SKIPPED`);
      continue;
    }
    const code = await run(script, found);
    if (code !== 0) {
      process.stderr.write(`\n✗ ${name} failed. Next: ${fix}\n`);
      return code;
    }
    outcomes.push(name);
  }
  process.stderr.write(`\n✓ ${outcomes.join(', ')}\n`);
  return 0;
}
