/** One side of a comparison: finishes tasks, one call per task. */
export interface Contestant {
  name: 'baton' | 'floor';
  /** Runs one task to its end. @throws when it does not end with the expected answer */
  runTask(prompt: string): Promise<void>;
  stop(): Promise<void>;
}

/** The last reply of every scripted bench task. */
export const ANSWER = 'The answer, found with the tool.';
