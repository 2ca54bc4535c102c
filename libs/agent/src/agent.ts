import type { AgentConfig } from './config.js';
import type { AgentDefinition } from './definition.js';

/** Injection token of the `Agent` that a service runs. */
export const AGENT = Symbol('Agent');

export interface Agent {
  definition: AgentDefinition;
  config: AgentConfig;
}
