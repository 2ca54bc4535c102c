import { defineAgent, promptFile } from '#libs/agent';

export default defineAgent({
  id: 'agent-search',
  description: 'Finds and cites sources',
  systemPrompt: promptFile('search', 'system.md'),
  tools: ['web_search', 'vector_search', 'knowledge_base'],
  limits: { maxSteps: 10, tokenBudget: 8192 },
});
