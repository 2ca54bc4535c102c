/** Jest's projects, in the order in which `./baton test` names them. */
export const SUITES = ['unit', 'integration', 'handoff', 'conformance', 'e2e', 'chaos'] as const;

/** Arguments of Jest for `./baton test [suite] [--] [arguments of Jest]`. */
export function jestArguments(args: string[]): string[] {
  const [first, ...rest] = args;
  const isSuite = (SUITES as readonly string[]).includes(first ?? '');
  const forJest = (isSuite ? rest : args).filter((arg, i) => !(arg === '--' && i === 0));
  // Before the others: `--selectProjects` takes every word that follows it.
  return isSuite ? [...forJest, '--selectProjects', first!] : forJest;
}
