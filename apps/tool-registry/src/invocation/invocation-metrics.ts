import { Counter, Histogram, register } from 'prom-client';

// The registry of metrics is shared by all services of a process: what is there already is used.
const invocations = once(
  'tool_registry_invocations_total',
  (name) => new Counter({ name, help: 'Tool calls by outcome', labelNames: ['tool_name', 'status'] }),
);
const seconds = once(
  'tool_registry_invocation_duration_seconds',
  (name) =>
    new Histogram({
      name,
      help: 'Time from the request to its outcome',
      labelNames: ['tool_name'],
      buckets: [0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120],
    }),
);

function once<M>(name: string, create: (name: string) => M): M {
  return (register.getSingleMetric(name) as M | undefined) ?? create(name);
}

/** Outcomes by which calls are counted; any other code of a tool's own counts as `tool-failure`. */
const STATUSES = new Set([
  'ok',
  'forbidden',
  'unauthenticated',
  'identity-unavailable',
  'tool-not-found',
  'tool-version-not-found',
  'tool-arguments-invalid',
  'tool-output-invalid',
  'rate-limited',
  'timeout',
  'tool-unavailable',
  'tool-error',
  'outcome_unknown',
  'idempotency-key-reused',
  'idempotency-key-in-flight',
  'validation',
  'aborted',
  'database-unavailable',
  'database-timeout',
  'internal',
]);

/** @param tool a registered tool's name; anything else counts as `unknown`, so that callers cannot invent labels. */
export function countInvocation(tool: string | null, status: string, durationMs: number): void {
  const name = tool ?? 'unknown';
  invocations.inc({ tool_name: name, status: STATUSES.has(status) ? status : 'tool-failure' });
  seconds.observe({ tool_name: name }, durationMs / 1000);
}
