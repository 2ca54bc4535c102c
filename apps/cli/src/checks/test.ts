import { runNode } from './program-run.js';
import { jestArguments } from './suites.js';

/** Jest's own exit code; its summary is the last thing printed. */
export function test(args: string[]): Promise<number> {
  return runNode('node_modules/jest/bin/jest.js', jestArguments(args));
}
