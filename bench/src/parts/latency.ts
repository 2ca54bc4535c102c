import { drive, quantile } from '../measure.js';
import type { Context, Part } from '../part.js';
import { scenario } from '../scenarios.js';

const MODEL_MS = 100;
const MODEL_CALLS = 3;
const TASKS = 40;

/** What a task takes beyond its model's time, one task at a time. */
export const latency: Part = {
  name: 'latency',
  title: `Added latency at concurrency 1, ${MODEL_CALLS} model calls of ${MODEL_MS} ms and 2 tool calls`,
  run: async (context) => {
    await context.stack.scenario(scenario('latency', MODEL_CALLS, MODEL_MS));
    const added: Record<string, number[]> = { baton: [], floor: [] };
    for (let i = 0; i < TASKS; i += 1) {
      if (i % 10 === 0) context.progress(`task ${i + 1} of ${TASKS}`);
      for (const side of sides(context, i)) {
        const { totalMs } = await drive(1, 1, () => side.runTask(`[latency] ${i}`));
        added[side.name]!.push(totalMs - MODEL_CALLS * MODEL_MS);
      }
    }
    return [0.5, 0.99].map((p) => {
      const [baton, floor] = [quantile(added['baton']!, p), quantile(added['floor']!, p)];
      return {
        what: `added latency p${p * 100} (ms)`,
        baton: baton.toFixed(1),
        floor: floor.toFixed(1),
        ratio: baton / floor,
      };
    });
  },
};

const sides = ({ baton, floor }: Context, i: number) => (i % 2 === 0 ? [baton, floor] : [floor, baton]);
