import { createHash } from 'node:crypto';
import type { ModelToolCall, ToolOutcome, ToolsEntry } from '#libs/contracts';
import { failpoint } from '#libs/chassis';
import type { ToolClient } from '#libs/tools';
import type { Lease } from '../lease.js';
import { boundOutcome } from './context.js';
import { parseArguments } from './next.js';
import { storable } from './storable.js';

/** Calls of one reply that run at the same time. */
const PARALLEL = 8;
/** Calls of one reply that are made at all; the model is told of the rest. */
const MAX_CALLS = 16;

type Result = ToolsEntry['results'][number];

/** The tools of a run: their names and the versions that its first model call fixed. */
export type Pinned = Record<string, string>;

/**
 * Makes the calls of one reply in parallel, bounded. A failure is a result that the model sees; only a stopped run throws.
 * @param step number of the reply in the run: with the call's index it is the identity of the call, whatever id the model gave it
 */
export async function makeCalls(
  tools: ToolClient,
  calls: ModelToolCall[],
  step: number,
  pinned: Pinned,
  lease: Lease,
  onBegin: (tool: string) => () => void,
): Promise<Result[]> {
  const results: Result[] = [];
  const indices = calls.keys();
  let failed = false;
  const worker = async () => {
    for (const index of indices) {
      // A call that throws ends the run: none of the others begins after it.
      if (failed) return;
      const call = calls[index]!;
      const started = performance.now();
      const onEnd = onBegin(call.name);
      const outcome =
        index < MAX_CALLS ? await makeCall(tools, call, { step, index, pinned, lease }) : tooMany();
      onEnd();
      const duration_ms = Math.round(performance.now() - started);
      results[index] = {
        call_id: call.id,
        name: call.name,
        duration_ms,
        outcome: storable(boundOutcome(outcome)),
      };
    }
  };
  const work = () =>
    worker().catch((error: unknown) => {
      failed = true;
      throw error;
    });
  const ends = await Promise.allSettled(Array.from({ length: Math.min(PARALLEL, calls.length) }, work));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return results;
}

interface Place {
  step: number;
  index: number;
  pinned: Pinned;
  lease: Lease;
}

async function makeCall(
  tools: ToolClient,
  call: ModelToolCall,
  { step, index, pinned, lease }: Place,
): Promise<ToolOutcome> {
  const version = Object.hasOwn(pinned, call.name) ? pinned[call.name] : undefined;
  if (!version)
    return failure(
      'tool-not-found',
      `There is no tool of this name. Available: ${Object.keys(pinned).join(', ') || 'none'}`,
    );
  const args = parseArguments(call.arguments);
  if (!args)
    return failure(
      'tool-arguments-invalid',
      'The arguments are not a JSON object. Write them again as valid JSON.',
    );
  await lease.assertHeld();
  await failpoint('run.before-tool');
  const { id, tenant, userId, scopes, token, traceparent } = lease.task;
  const outcome = await tools.invoke({
    name: call.name,
    version,
    arguments: args,
    idempotencyKey: effectKey(id, step, index, `${call.name}@${version}`),
    on: { tenant, userId, scopes, token },
    deadlineMs: lease.remainingMs(),
    signal: lease.signal,
    traceparent,
  });
  await failpoint('run.after-tool');
  return outcome;
}

/** P3: a call is known by its place in the run. */
export function effectKey(taskId: string, step: number, index: number, tool: string): string {
  return createHash('sha256')
    .update(JSON.stringify([taskId, step, index, tool]))
    .digest('hex');
}

const failure = (code: string, message: string): ToolOutcome => ({ ok: false, code, message });
const tooMany = (): ToolOutcome =>
  failure('too-many-calls', `Only the first ${MAX_CALLS} calls of a reply are made`);
