import { TerminalError, type JsonSchema, type ToolDefinition, type ToolEffect } from '#libs/contracts';
import { TOOL_RULES } from './rules.js';

/** Who calls and how long the call may last. */
export interface ToolContext {
  tenant: string;
  /** The person on whose behalf the agent works; null for work without one. */
  userId: string | null;
  agentId: string;
  /** The same for every attempt of one call; always present for `write` tools. */
  idempotencyKey: string | null;
  /** The same for every attempt of one call. */
  requestId: string;
  /** Aborts at the timeout and when nobody waits for the answer any more. */
  signal: AbortSignal;
}

export interface ToolSpec<Params = unknown> {
  /** `^[a-z][a-z0-9_]{1,63}$` */
  name: string;
  /** Semantic version. What was published under a version never changes. */
  version: string;
  /** For the model: what the tool does and when to use it. */
  description: string;
  /** `write` tools change something outside; their calls pass the registry's effect ledger. */
  effect: ToolEffect;
  /** True when the handler itself recognises a repeated idempotency key. Default false. */
  idempotent?: boolean;
  /** JSON Schema (2020-12) of the arguments: `type` is `object`. The registry checks them before the handler sees them. */
  parameters: JsonSchema;
  /** JSON Schema of the result. */
  returns: JsonSchema;
  /** Calls per minute per agent. Default 60. */
  rateLimit?: number;
  /** Milliseconds, 1 to 120,000. Default 10,000. */
  timeoutMs?: number;
  handler(params: Params, context: ToolContext): unknown;
}

/** A tool as `serveTools` takes it; made by `defineTool` only. */
export type Tool = Readonly<Required<ToolSpec>>;

/**
 * Defines one version of a tool.
 * @throws TerminalError `tool-definition-invalid` that names everything wrong at once.
 */
export function defineTool<Params = unknown>(spec: ToolSpec<Params>): Tool {
  const tool: Required<ToolSpec<Params>> = { idempotent: false, rateLimit: 60, timeoutMs: 10_000, ...spec };
  const wrong = faultsOf(tool as Tool);
  if (wrong.length > 0)
    throw new TerminalError('tool-definition-invalid', `Tool ${String(spec.name)}: ${wrong.join('; ')}`);
  return Object.freeze(tool as Tool);
}

function faultsOf(tool: Tool): string[] {
  const wrong: string[] = [];
  const check = (holds: boolean, rule: string) => void (holds || wrong.push(rule));
  const { descriptionChars, rateLimit, timeoutMs } = TOOL_RULES;
  check(TOOL_RULES.name.test(tool.name), `name must match ${TOOL_RULES.name.source}`);
  check(TOOL_RULES.version.test(tool.version), 'version must be a semantic version such as 1.0.0');
  check(
    typeof tool.description === 'string' && within(tool.description.trim().length, descriptionChars),
    `description must have ${descriptionChars.min} to ${descriptionChars.max} characters`,
  );
  check(tool.effect === 'read' || tool.effect === 'write', 'effect must be read or write');
  check(tool.parameters?.['type'] === 'object', 'parameters must be a schema of type object');
  check(isObject(tool.returns), 'returns must be a schema object');
  check(
    isWhole(tool.rateLimit, rateLimit),
    `rateLimit must be a whole number from ${rateLimit.min} to ${rateLimit.max}`,
  );
  check(
    isWhole(tool.timeoutMs, timeoutMs),
    `timeoutMs must be a whole number from ${timeoutMs.min} to ${timeoutMs.max}`,
  );
  check(typeof tool.handler === 'function', 'handler must be a function');
  return wrong;
}

interface Range {
  min: number;
  max: number;
}
const within = (value: number, { min, max }: Range) => value >= min && value <= max;
const isWhole = (value: number, range: Range) => Number.isInteger(value) && within(value, range);
const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** What the tool's service publishes to the registry. `serviceUrl` is the service's base URL as the registry reaches it. */
export function definitionOf(tool: Tool, serviceUrl: string): ToolDefinition {
  const base = serviceUrl.replace(/\/+$/, '');
  return {
    name: tool.name,
    version: tool.version,
    description: tool.description,
    parameters: tool.parameters,
    returns: tool.returns,
    endpoint: `${base}/tools/${tool.name}/invoke`,
    health_url: `${base}/health`,
    auth_type: 'service',
    rate_limit: tool.rateLimit,
    timeout_ms: tool.timeoutMs,
    effect: tool.effect,
    idempotent: tool.idempotent,
  };
}
