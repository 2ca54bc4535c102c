export type JsonSchema = Record<string, unknown>;
export type ToolEffect = 'read' | 'write';

/** What a tool service publishes to the registry; one version of one tool. */
export interface ToolDefinition {
  name: string;
  /** Semantic version. A published version never changes. */
  version: string;
  description: string;
  /** JSON Schema (draft 2020-12) of the arguments: an object schema. */
  parameters: JsonSchema;
  /** JSON Schema of the result. */
  returns: JsonSchema;
  /** URL to which the registry posts calls. */
  endpoint: string;
  /** URL at which a GET answers 2xx while the service is well; the registry asks it in the background. */
  health_url: string;
  auth_type: 'service' | 'none';
  /** Calls per minute per agent. */
  rate_limit: number;
  /** Milliseconds, 1 to 120,000. */
  timeout_ms: number;
  /** `write` tools change something outside; their calls pass the effect ledger. */
  effect: ToolEffect;
  /** True when the handler itself recognises a repeated `Idempotency-Key`, so an unknown outcome may be asked again. */
  idempotent: boolean;
}

/** What the registry last saw of a tool service at its `health_url`; a call is tried whatever it says. */
export interface ToolHealth {
  state: 'up' | 'down' | 'unknown';
  /** Why it is down. */
  cause: string | null;
  checked_at: string | null;
}

/** A tool in the registry's answers. */
export interface ListedTool extends ToolDefinition {
  /** The service that owns it. */
  service: string;
  health: ToolHealth;
}

/**
 * What the model gets to see of a call. A failure is a value, not an exception:
 * `code` e.g. `not_configured`, `tool-arguments-invalid`, `tool-output-invalid`, `timeout`, `outcome_unknown`, `rate-limited`.
 */
export type ToolOutcome =
  { ok: true; result: unknown; truncated?: boolean } | { ok: false; code: string; message: string };

/** `POST /tools/{name}/invoke` of the registry. */
export interface InvokeRequest {
  /** The pinned version; the newest when absent. */
  version?: string;
  arguments: unknown;
}

export interface InvokeResponse {
  tool: string;
  version: string;
  outcome: ToolOutcome;
  duration_ms: number;
}

/** What the registry posts to a tool's endpoint, as in the source document. */
export interface ToolServiceRequest {
  tool: string;
  version: string;
  params: unknown;
}
