import { defineAgent } from '#libs/agent';

/** Agents of different ids share nothing: neither queue nor tasks. */
export const benchAgent = (id: string) =>
  defineAgent({
    id,
    description: 'Runs the benchmark task',
    systemPrompt: 'You answer with what the tool says.',
    tools: ['lookup'],
    limits: { maxSteps: 25, tokenBudget: 32_768 },
  });
