import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Env } from '#libs/chassis';
import { HttpClient } from '#libs/chassis';
import type { Context, Part, Row } from '../part.js';
import { scenario } from '../scenarios.js';
import { SPAWNED_AGENT } from '../stack.js';

const CASES: Array<{ what: string; env: Env; limitMs: number }> = [
  { what: 'default leases', env: {}, limitMs: 25_000 },
  { what: 'short leases (1 s)', env: { LEASE_MS: '1000', RECONCILE_MS: '200' }, limitMs: 2000 },
];

/** From SIGKILL of the worker to the next journal entry, written by another process. */
export const takeover: Part = {
  name: 'takeover',
  title: 'From SIGKILL of a worker to the next journal entry elsewhere',
  run: async (context) => {
    await context.stack.scenario(scenario('takeover', 20, 400));
    const rows: Row[] = [];
    for (const { what, env, limitMs } of CASES) {
      context.progress(what);
      const ms = await measure(context, env);
      rows.push({
        what: `takeover (s), ${what}`,
        baton: (ms / 1000).toFixed(2),
        target: `≤ ${limitMs / 1000}`,
        ok: ms <= limitMs,
      });
    }
    return rows;
  },
};

async function measure({ stack, baton }: Context, env: Env): Promise<number> {
  const workerEnv = { ...env, ALLOWED_CALLERS: 'bench' };
  const victim = await stack.spawnAgent(workerEnv);
  const heirs = [];
  try {
    const { body } = await new HttpClient().json<{ task_id: string }>(`${victim.url}/tasks`, {
      method: 'POST',
      headers: { authorization: await stack.tokens('bench').authorization(SPAWNED_AGENT) },
      body: { prompt: `[takeover] ${randomUUID()}`, max_steps: 25 },
    });
    await entriesBeyond(baton, body.task_id, 1);
    heirs.push(await stack.spawnAgent(workerEnv));
    const before = await lastSeq(baton, body.task_id);
    victim.kill('SIGKILL');
    await victim.exited;
    const killed = performance.now();
    await entriesBeyond(baton, body.task_id, Math.max(before, await lastSeq(baton, body.task_id)));
    return performance.now() - killed;
  } finally {
    await Promise.all([victim, ...heirs].map((agent) => agent.stop()));
  }
}

async function lastSeq({ database }: Context['baton'], taskId: string): Promise<number> {
  const [row] = await database.query<{ seq: number }>(
    'select coalesce(max(seq), 0)::int as seq from agents.journal where task_id = $1',
    [taskId],
  );
  return row!.seq;
}

async function entriesBeyond(baton: Context['baton'], taskId: string, seq: number): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(5))
    if ((await lastSeq(baton, taskId)) > seq) return;
  throw new Error(`task ${taskId}: no entry after ${seq} within 60 s`);
}
