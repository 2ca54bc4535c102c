import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { Command } from 'commander';
import { messageOf } from '#libs/contracts';
import { startBaton } from './baton.js';
import type { Contestant } from './contestant.js';
import { startFloor } from './floor.js';
import { drive } from './measure.js';
import type { Part } from './part.js';
import { growth } from './parts/growth.js';
import { handoff } from './parts/handoff.js';
import { inFlight } from './parts/in-flight.js';
import { latency } from './parts/latency.js';
import { takeover } from './parts/takeover.js';
import { throughput } from './parts/throughput.js';
import { render, type PartResult } from './report.js';
import { scenario } from './scenarios.js';
import { startBenchStack, type BenchStack } from './stack.js';

const PARTS: Part[] = [throughput, latency, inFlight, growth, takeover, handoff];
const NAMES = PARTS.map((part) => part.name).join(', ');

async function main(): Promise<void> {
  const command = new Command('bench')
    .description('Measures Baton against a bare BullMQ worker with one insert per entry, in one run')
    .option('--only <name>', `run one part: ${NAMES}`)
    .option('--json <file>', 'write the results to a file, too')
    .parse();
  const { only, json } = command.opts<{ only?: string; json?: string }>();
  const parts = PARTS.filter((part) => !only || part.name === only);
  if (parts.length === 0) command.error(`There is no part ${only}; parts: ${NAMES}`);
  const results = await run(parts);
  process.stdout.write(`${render(results)}\n`);
  if (json) writeFileSync(json, `${JSON.stringify(documentOf(results), null, 2)}\n`);
  process.exitCode = results.every(({ rows }) => rows.every((row) => row.ok !== false)) ? 0 : 1;
}

async function run(parts: Part[]): Promise<PartResult[]> {
  const progress = (line: string) => void process.stderr.write(`· ${line}\n`);
  const stack = await startBenchStack(progress);
  const sides: Array<{ stop(): Promise<void> }> = [];
  try {
    const baton = await startBaton(stack);
    sides.push(baton);
    const floor = await startFloor(stack);
    sides.push(floor);
    progress('warming up');
    await warmUp(stack, [baton, floor]);
    const results: PartResult[] = [];
    for (const part of parts) {
      progress(part.title);
      results.push({
        part,
        rows: await part.run({ stack, baton, floor, progress: (line) => progress(`  ${line}`) }),
      });
    }
    return results;
  } finally {
    await Promise.all(sides.map((side) => side.stop()));
    await stack.stop();
  }
}

/** Every process compiles its hot code first, so that a part shows the same alone as after others. */
async function warmUp(stack: BenchStack, sides: Contestant[]): Promise<void> {
  await stack.scenario(scenario('warm-up', 3, 0));
  for (const side of sides) await drive(1500, 32, (i) => side.runTask(`[warm-up] ${side.name} ${i}`));
}

function documentOf(results: PartResult[]) {
  return {
    at: new Date().toISOString(),
    node: process.version,
    cpus: cpus().length,
    parts: results.map(({ part, rows }) => ({ name: part.name, title: part.title, rows })),
  };
}

main().then(
  () => process.exit(),
  (error: unknown) => {
    process.stderr.write(`bench: ${messageOf(error)}\n${(error as Error)?.stack ?? ''}\n`);
    process.exit(1);
  },
);
