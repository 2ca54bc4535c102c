/** The value below which the share `p` (0 to 1) of the sorted samples lies. */
export function quantile(samples: number[], p: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN;
}

export const median = (samples: number[]): number => quantile(samples, 0.5);

/** Runs `count` tasks with `concurrency` in flight; milliseconds of each, and of all together. */
export async function drive(
  count: number,
  concurrency: number,
  task: (index: number) => Promise<void>,
): Promise<{ samples: number[]; totalMs: number }> {
  const samples: number[] = [];
  const indices = Array.from({ length: count }, (_, i) => i).values();
  const started = performance.now();
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      for (const index of indices) {
        const before = performance.now();
        await task(index);
        samples.push(performance.now() - before);
      }
    }),
  );
  return { samples, totalMs: performance.now() - started };
}
