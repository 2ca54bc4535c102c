import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '#libs/contracts';

/** What `/ready` says of a service; `missing` is empty when it is ready. */
export interface ReadyAnswer {
  ready: boolean;
  missing: Array<{ name: string; cause: string; fix: string }>;
}

interface ReadyBody {
  error?: Record<string, { cause?: string; fix?: string }>;
}

/** Asks `/ready` once, with 3 s; a service that does not answer is not ready. */
export async function askReady(url: string): Promise<ReadyAnswer> {
  try {
    const response = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(3000) });
    const body = (await response.json()) as ReadyBody;
    const missing = Object.entries(body.error ?? {}).map(([name, { cause = 'unknown', fix = '' }]) => ({
      name,
      cause,
      fix,
    }));
    return { ready: response.ok, missing };
  } catch (error) {
    return {
      ready: false,
      missing: [{ name: 'service', cause: causeOf(error), fix: './baton down && ./baton up' }],
    };
  }
}

function causeOf(error: unknown): string {
  const cause = (error as { cause?: { code?: string } }).cause;
  return cause?.code === 'ECONNREFUSED' ? 'not listening' : messageOf(error);
}

/** A model elsewhere may stay away for hours; nothing else here depends on its being there. */
const MODEL_MS = 5000;

/** Asks until the service is ready or `timeoutMs` have passed, and answers the last that it said. For its model alone it waits 5 s. */
export async function waitForReady(url: string, timeoutMs: number): Promise<ReadyAnswer> {
  const start = Date.now();
  for (;;) {
    const answer = await askReady(url);
    const waited = Date.now() - start;
    const isModelAlone = answer.missing.every(({ name }) => name === 'model');
    if (answer.ready || waited > (isModelAlone ? Math.min(MODEL_MS, timeoutMs) : timeoutMs)) return answer;
    await sleep(100);
  }
}
