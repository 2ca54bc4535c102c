import { defineAgent } from '#libs/agent';

export default defineAgent({
  id: 'agent-bench',
  description: 'Runs the benchmark task',
  systemPrompt: 'You answer with what the tool says.',
  tools: ['lookup'],
  limits: { maxSteps: 25, tokenBudget: 32_768 },
});
