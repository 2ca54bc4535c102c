/** What holds for every tool, at its definition and again at the registry's door. */
export const TOOL_RULES = {
  /** Lower-case snake case, 2 to 64 characters: what every model provider accepts as a function name. */
  name: /^[a-z][a-z0-9_]{1,63}$/,
  /** Semantic Versioning 2.0.0, without build metadata (it takes no part in precedence). */
  version: /^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$/,
  descriptionChars: { min: 1, max: 4096 },
  /** Calls per minute per agent. */
  rateLimit: { min: 1, max: 100_000 },
  /** Milliseconds. */
  timeoutMs: { min: 1, max: 120_000 },
} as const;
