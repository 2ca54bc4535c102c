import type { AgentResult } from '#libs/contracts';
import type { Person } from '#libs/testing';

/** A task as every door can ask for it. */
export interface TaskRequest {
  prompt: string;
  session_id?: string;
  metadata?: Record<string, string>;
  max_steps?: number;
  token_budget?: number;
  /** Milliseconds in which the task has to end. */
  deadline_ms?: number;
  /** UUID: asked again under the same key, it is the same task. */
  key?: string;
}

/** Who asks: a person on whose behalf the door's client speaks, or a token as it is (null: none). */
export type Asker = Person | { token: string | null };

/** What a door says to what it does not do: the problem's code and the fields that it names. */
export interface Refusal {
  refused: string;
  fields: string[];
}

export interface Accepted {
  taskId: string;
}

export interface Step {
  sequence: number;
  kind: string;
}

/**
 * One way into an agent, as a client of that transport uses it. The table of behaviours knows nothing more of a door than this.
 */
export interface Door {
  readonly name: string;
  /** What becomes of a task beyond the backlog: `refuses` says so at once, `waits` keeps it until there is room. */
  readonly overload: 'refuses' | 'waits';
  /** Resolves when the task is accepted or refused. */
  submit(request: TaskRequest, asker?: Asker): Promise<Accepted | Refusal>;
  /** Sends a task without waiting for what becomes of it. */
  send(request: TaskRequest & { key: string }): Promise<void>;
  /** The result of a task that was submitted here, once it has ended. */
  result(taskId: string, asker?: Asker): Promise<AgentResult>;
  /** The steps of a task that was submitted here, to its end. */
  steps(taskId: string): Promise<Step[]>;
  /** The task's status after the cancel was acknowledged, or why it cannot be cancelled. */
  cancel(taskId: string, asker?: Asker): Promise<{ status: string } | Refusal>;
  close(): Promise<void>;
}

export const isRefusal = (answer: object): answer is Refusal => 'refused' in answer;

/** @throws Error when the task was refused */
export function accepted(answer: Accepted | Refusal): string {
  if (isRefusal(answer)) throw new Error(`not accepted: ${JSON.stringify(answer)}`);
  return answer.taskId;
}
