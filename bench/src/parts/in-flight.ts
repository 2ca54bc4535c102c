import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { checkAnswers } from '../baton.js';
import { drive } from '../measure.js';
import type { Context, Part } from '../part.js';
import { scenario } from '../scenarios.js';

const TASKS = 1000;
const MODEL_CALLS = 20;
const MODEL_MS = 1000;
const MAX_RATIO = 1.2;
const SETTLE_MS = 3000;

/** A thousand tasks in one worker, all waiting for their model at once. */
export const inFlight: Part = {
  name: 'in-flight',
  title: `${TASKS} tasks in flight in one worker, ${MODEL_CALLS} model calls of ${MODEL_MS} ms and ${MODEL_CALLS - 1} tool calls each`,
  run: async (context) => {
    await context.stack.scenario(scenario('in-flight', MODEL_CALLS, MODEL_MS));
    const ideal = MODEL_CALLS * MODEL_MS;
    const floor = await makespan(context, 'floor');
    const baton = await makespan(context, 'baton');
    const { max_in_flight } = await context.stack.scenarioStats('in-flight');
    await checkAnswers(context.baton.database, '[in-flight] baton ', TASKS);
    const ratio = baton.totalMs / ideal;
    return [
      {
        what: 'makespan / ideal',
        baton: ratio.toFixed(2),
        floor: (floor.totalMs / ideal).toFixed(2),
        ratio: baton.totalMs / floor.totalMs,
        target: `≤ ${MAX_RATIO}`,
        ok: ratio <= MAX_RATIO,
      },
      { what: 'model calls waiting at once', baton: String(max_in_flight) },
      {
        what: 'memory per task (KiB)',
        baton: baton.kib.toFixed(0),
        floor: floor.kib.toFixed(0),
        ratio: baton.kib / floor.kib,
      },
    ];
  },
};

/** Memory is what is alive halfway, when all tasks wait, beyond what is alive when all have ended. */
async function makespan(
  context: Context,
  name: 'baton' | 'floor',
): Promise<{ totalMs: number; kib: number }> {
  context.progress(`${name}: ${TASKS} tasks`);
  let halfway = 0;
  const timer = setTimeout(() => (halfway = aliveBytes()), (MODEL_CALLS * MODEL_MS) / 2);
  const { totalMs } = await drive(TASKS, TASKS, (i) => context[name].runTask(`[in-flight] ${name} ${i}`));
  clearTimeout(timer);
  await sleep(SETTLE_MS);
  return { totalMs, kib: (halfway - aliveBytes()) / TASKS / 1024 };
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function aliveBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
