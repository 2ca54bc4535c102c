import { defineAgent, startAgent } from '#libs/agent';
import { TEST_TOOLS } from './test-tool-names.js';

/** The agent of the end-to-end and chaos tests, a program of its own: `dist/libs/testing/src/test-agent.main.js`. */
const testAgent = defineAgent({
  id: 'agent-test',
  description: 'Runs the scripts of the tests',
  systemPrompt: 'You do what the test says.',
  tools: TEST_TOOLS,
  limits: { maxSteps: 10, tokenBudget: 32_768 },
});

void startAgent(testAgent);
