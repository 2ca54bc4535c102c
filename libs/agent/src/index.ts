export { defineAgent, promptFile, type AgentDefinition } from './definition.js';
export { TaskFeed } from './feed.js';
export { Intake } from './intake.js';
export { agentService, startAgent } from './start-agent.js';
