export { defineAgent, promptFile, type AgentDefinition } from './definition.js';
export { agentService, startAgent } from './start-agent.js';
