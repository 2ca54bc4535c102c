import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TASK_LIMITS, TerminalError } from '#libs/contracts';
import { projectRoot } from '#libs/chassis';

/** Everything that makes one agent different from another. */
export interface AgentDefinition {
  /** `agent-<name>`: the service's name, its identity towards the registry and its queue's name. */
  id: string;
  description: string;
  systemPrompt: string;
  /** Tools it may be offered; the registry's ACL has the last word. */
  tools: string[];
  /** Used where a task names none; a task may ask for up to `TASK_LIMITS`. */
  limits: { maxSteps: number; tokenBudget: number };
}

/** @throws TerminalError `agent-definition` naming everything that is wrong. */
export function defineAgent(definition: AgentDefinition): AgentDefinition {
  const { maxSteps, tokenBudget } = TASK_LIMITS;
  const outside = (value: number, bounds: { min: number; max: number }) =>
    !Number.isInteger(value) || value < bounds.min || value > bounds.max;
  const wrong = [
    !/^agent-[a-z][a-z0-9-]{0,40}$/.test(definition.id) && 'id must look like agent-name',
    definition.description.trim() === '' && 'description is empty',
    definition.systemPrompt.trim() === '' && 'systemPrompt is empty',
    outside(definition.limits.maxSteps, maxSteps) &&
      `limits.maxSteps must be ${maxSteps.min} to ${maxSteps.max}`,
    outside(definition.limits.tokenBudget, tokenBudget) &&
      `limits.tokenBudget must be ${tokenBudget.min} to ${tokenBudget.max}`,
    new Set(definition.tools).size !== definition.tools.length && 'tools names one twice',
  ].filter(Boolean);
  if (wrong.length > 0) throw new TerminalError('agent-definition', `${definition.id}: ${wrong.join('; ')}`);
  return definition;
}

/** The agent's name without its prefix: `search` of `agent-search`; used in queue names, topics and paths. */
export function shortName(agentId: string): string {
  return agentId.replace(/^agent-/, '');
}

/** Text of `apps/agents/<agent>/prompts/<file>`. @throws when it cannot be read: an agent without its prompt must not start. */
export function promptFile(agent: string, file: string): string {
  return readFileSync(join(projectRoot(), 'apps', 'agents', agent, 'prompts', file), 'utf8').trim();
}
