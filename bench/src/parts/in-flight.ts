import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { checkAnswers } from '../baton.js';
import { drive, median } from '../measure.js';
import type { Context, Part } from '../part.js';
import { scenario } from '../scenarios.js';

const TASKS = 1000;
const MODEL_CALLS = 20;
const MODEL_MS = 1000;
const MAX_RATIO = 1.2;
const SETTLE_MS = 3000;
const ROUNDS = 3;

/** A thousand tasks in one worker, all waiting for their model at once. */
export const inFlight: Part = {
  name: 'in-flight',
  title: `${TASKS} tasks in flight in one worker, ${MODEL_CALLS} model calls of ${MODEL_MS} ms and ${MODEL_CALLS - 1} tool calls each`,
  run: async (context) => {
    await context.stack.scenario(scenario('in-flight', MODEL_CALLS, MODEL_MS));
    const ideal = MODEL_CALLS * MODEL_MS;
    const floor: Round[] = [];
    const baton: Round[] = [];
    for (let i = 1; i <= ROUNDS; i += 1) {
      floor.push(await round(context, 'floor', i));
      baton.push(await round(context, 'baton', i));
    }
    const { max_in_flight } = await context.stack.scenarioStats('in-flight');
    await checkAnswers(context.baton.database, '[in-flight] baton ', ROUNDS * TASKS);
    const [ratio, floorRatio] = [baton, floor].map((rounds) => median(rounds.map((r) => r.totalMs)) / ideal);
    const [kib, floorKib] = [baton, floor].map((rounds) => rounds.at(-1)!.kib);
    return [
      {
        what: 'makespan / ideal',
        baton: ratio!.toFixed(2),
        floor: floorRatio!.toFixed(2),
        ratio: ratio! / floorRatio!,
        target: `≤ ${MAX_RATIO}`,
        ok: ratio! <= MAX_RATIO,
      },
      { what: 'model calls waiting at once', baton: String(max_in_flight) },
      {
        what: 'memory per task (KiB)',
        baton: kib!.toFixed(0),
        floor: floorKib!.toFixed(0),
        ratio: kib! / floorKib!,
      },
    ];
  },
};

interface Round {
  totalMs: number;
  /** Memory per task; measured in the last round alone, as looking at it stops the process to collect garbage. */
  kib: number;
}

/** Memory is what is alive halfway, when all tasks wait, beyond what was alive before. */
async function round(context: Context, name: 'baton' | 'floor', number: number): Promise<Round> {
  context.progress(`${name}: ${TASKS} tasks, round ${number} of ${ROUNDS}`);
  await sleep(SETTLE_MS);
  const look = number === ROUNDS ? aliveBytes : () => Number.NaN;
  const before = look();
  let halfway = 0;
  const timer = setTimeout(() => (halfway = look()), (MODEL_CALLS * MODEL_MS) / 2);
  const { totalMs } = await drive(TASKS, TASKS, (i) =>
    context[name].runTask(`[in-flight] ${name} ${number}.${i}`),
  );
  clearTimeout(timer);
  return { totalMs, kib: (halfway - before) / TASKS / 1024 };
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function aliveBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
