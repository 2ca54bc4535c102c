import { checkAnswers } from '../baton.js';
import { drive, median } from '../measure.js';
import type { Context, Part, Row } from '../part.js';
import { scenario } from '../scenarios.js';

/** Tasks per round and the least share of the floor's rate, by concurrency. */
const LEVELS = [
  { concurrency: 1, tasks: 80, target: 0.5 },
  { concurrency: 16, tasks: 600, target: 0.6 },
  { concurrency: 64, tasks: 1200, target: 0.9 },
];
const ROUNDS = 5;
const MAX_COMMITS = 8;

/** Durable tasks per second with a model that answers at once: 3 model calls, 2 tool calls. */
export const throughput: Part = {
  name: 'throughput',
  title: 'Durable tasks per second, 3 model calls of 0 ms and 2 tool calls',
  run: async (context) => {
    await context.stack.scenario(scenario('throughput', 3, 0));
    const rows: Row[] = [];
    for (const level of LEVELS) rows.push(...(await measure(context, level)));
    return rows;
  },
};

async function measure(
  context: Context,
  { concurrency, tasks, target }: (typeof LEVELS)[number],
): Promise<Row[]> {
  const rounds = [];
  for (let i = 0; i < ROUNDS; i += 1) {
    context.progress(`concurrency ${concurrency}, round ${i + 1} of ${ROUNDS}`);
    rounds.push(await round(context, concurrency, tasks, `c${concurrency}r${i}`));
  }
  const [baton, floor] = [median(rounds.map((r) => r.baton)), median(rounds.map((r) => r.floor))];
  const ratio = median(rounds.map((r) => r.baton / r.floor));
  const commits = median(rounds.map((r) => r.commits));
  return [
    {
      what: `tasks/s at concurrency ${concurrency}`,
      baton: baton.toFixed(0),
      floor: floor.toFixed(0),
      ratio,
      target: `≥ ${target} × floor`,
      ok: ratio >= target,
    },
    {
      what: `commits per task at concurrency ${concurrency}`,
      baton: commits.toFixed(2),
      target: `≤ ${MAX_COMMITS}`,
      ok: commits <= MAX_COMMITS,
    },
  ];
}

/** Both sides, one right after the other; the order changes from round to round with the name's last digit. */
async function round(context: Context, concurrency: number, tasks: number, name: string) {
  const { baton, floor } = context;
  const rates = { baton: 0, floor: 0, commits: 0 };
  const order = Number(name.at(-1)) % 2 === 1 ? [floor, baton] : [baton, floor];
  for (const side of order) {
    const before = await transactions(context);
    const { totalMs } = await drive(tasks, concurrency, (i) => side.runTask(`[throughput] ${name} ${i}`));
    rates[side.name] = (tasks / totalMs) * 1000;
    if (side === baton) rates.commits = ((await transactions(context)) - before) / tasks;
  }
  await checkAnswers(baton.database, `[throughput] ${name} `, tasks);
  return rates;
}

/** Transactions that wrote something so far: each takes one transaction id. Asking takes one as well. */
async function transactions({ baton }: Context): Promise<number> {
  const [row] = await baton.database.query<{ xid: string }>(
    'select pg_snapshot_xmax(pg_current_snapshot())::text as xid',
  );
  return Number(row!.xid);
}
