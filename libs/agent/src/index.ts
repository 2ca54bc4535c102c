export { defineAgent, promptFile, type AgentDefinition } from './definition.js';
export { TaskFeed } from './feed.js';
export { Intake } from './intake.js';
export { agentService, startAgent } from './start-agent.js';
export { childTaskId, HandOffs, handOffsOf, type HandOff } from './handoff/hand-offs.js';
export { createResultsDoor, type ResultHandler } from './doors/results.door.js';
