import type { Baton } from './baton.js';
import type { Contestant } from './contestant.js';
import type { BenchStack } from './stack.js';

export interface Context {
  stack: BenchStack;
  baton: Baton;
  floor: Contestant;
  progress(line: string): void;
}

/** One line of the report. `target` is what it is held against; `ok` tells whether it is met. */
export interface Row {
  what: string;
  baton: string;
  floor?: string;
  ratio?: number;
  target?: string;
  ok?: boolean;
}

export interface Part {
  name: string;
  title: string;
  run(context: Context): Promise<Row[]>;
}
