import { NODE_FLAGS } from '#libs/devstack';
import { runNode } from './program-run.js';

/** Passes all arguments on to the benchmark. */
export function bench(args: string[]): Promise<number> {
  return runNode('dist/bench/src/main.js', args, NODE_FLAGS);
}
