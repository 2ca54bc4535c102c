export { eventually } from './eventually.js';
export { forgedTokens, type ForgedToken } from './forged-tokens.js';
export { answer, callTool, type Scenario, type ScenarioCounts, type ScenarioStep } from './scenario.js';
export { sseEvents, type SseEvent } from './sse-events.js';
export { TaskApi, type Answer, type SubmitBody } from './task-api.js';
export { TestStack, type AgentName, type Person, type SpawnAgentOptions } from './test-stack.js';
export { TestIssuer } from './test-issuer.js';
export { TestSigner, type TokenClaims } from './test-signer.js';
export { TestTools, type Effect } from './test-tools.js';
