import { BatonError, type AgentResult, type FinishEntry } from '#libs/contracts';
import type { Lease, StopReason } from '../lease.js';
import { bestOutput, type Ending } from './next.js';
import type { RunState } from './state.js';

/** The largest number that an `int` column holds: 24.8 days in milliseconds. */
const MAX_INT = 2_147_483_647;

/** P13: a task whose workers died so often in a row without adding an entry is quarantined. */
const MAX_CRASHES = 3;

/** Why a claimed task must not run at all; what its journal has reached is kept. */
export function obstacleOf({ task, signal }: Lease, state: RunState): Ending | null {
  if (task.cancelRequested) return endingAfter(null, 'cancelled', state);
  if (task.crashes > MAX_CRASHES)
    return {
      status: 'failed',
      output: bestOutput(state),
      error: 'poison',
      detail: `Its worker died ${task.crashes} times in a row at the same place`,
    };
  if (task.remainingMs <= 0 || signal.aborted) return endingAfter(null, 'deadline', state);
  return null;
}

/** The ending of a run that was stopped for `reason`, or else failed with `error`. */
export function endingAfter(error: unknown, reason: StopReason | null, state: RunState): Ending {
  const output = bestOutput(state);
  if (reason === 'cancelled')
    return { status: 'cancelled', output, error: 'cancelled', detail: 'Cancelled on request' };
  if (reason === 'deadline')
    return {
      status: 'failed',
      output,
      error: 'deadline_exceeded',
      detail: 'The task did not end before its deadline',
    };
  if (error instanceof BatonError)
    return { status: 'failed', output, error: error.code, detail: error.message, retryable: error.retryable };
  return {
    status: 'failed',
    output,
    error: 'internal',
    detail: 'Something went wrong; the log has the details',
  };
}

/** The terminal entry of a run that ends in `state`. */
export function finishEntry(
  taskId: string,
  state: RunState,
  ending: Ending,
  durationMs: number,
): FinishEntry {
  const result: AgentResult = {
    task_id: taskId,
    status: ending.status,
    output: ending.output,
    error: ending.error,
    steps_used: state.turns.length,
    tokens_used: state.tokensUsed,
    tool_calls: state.toolCalls,
    duration_ms: Math.min(Math.round(durationMs), MAX_INT),
  };
  return { kind: 'finish', result, error_detail: ending.detail };
}

/** The same result as the columns of the final write. */
export function resultColumns({ result, error_detail }: FinishEntry) {
  return {
    status: result.status,
    output: result.output,
    error: result.error,
    detail: error_detail,
    stepsUsed: result.steps_used,
    tokensUsed: result.tokens_used,
    toolCalls: result.tool_calls,
    durationMs: result.duration_ms,
  };
}
