import { Injectable } from '@nestjs/common';
import { InjectMetric, makeCounterProvider, makeHistogramProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Histogram } from 'prom-client';
import type { AgentResult, TokenUsage } from '#libs/contracts';

export const METRIC_PROVIDERS = [
  makeCounterProvider({
    name: 'agent_tasks_total',
    help: 'Tasks that ended',
    labelNames: ['agent_id', 'status'],
  }),
  makeHistogramProvider({
    name: 'agent_task_duration_seconds',
    help: 'Seconds from acceptance to the end of a task',
    labelNames: ['agent_id'],
    buckets: [0.5, 1, 2, 5, 10, 30, 60, 120],
  }),
  makeCounterProvider({
    name: 'agent_llm_tokens_total',
    help: 'Tokens that models were given and gave',
    labelNames: ['agent_id', 'token_type'],
  }),
  makeCounterProvider({
    name: 'agent_tool_calls_total',
    help: 'Tool calls',
    labelNames: ['agent_id', 'tool_name', 'status'],
  }),
  makeHistogramProvider({
    name: 'agent_steps_per_task',
    help: 'Model calls of a task',
    labelNames: ['agent_id'],
    buckets: [1, 2, 3, 5, 8, 10, 15, 20, 25],
  }),
];

/** The source document's metrics; labels come from closed sets only. */
@Injectable()
export class RunMetrics {
  constructor(
    @InjectMetric('agent_tasks_total') private readonly tasks: Counter,
    @InjectMetric('agent_task_duration_seconds') private readonly duration: Histogram,
    @InjectMetric('agent_llm_tokens_total') private readonly tokens: Counter,
    @InjectMetric('agent_tool_calls_total') private readonly toolCalls: Counter,
    @InjectMetric('agent_steps_per_task') private readonly steps: Histogram,
  ) {}

  ended(agentId: string, result: AgentResult): void {
    this.tasks.inc({ agent_id: agentId, status: result.status });
    this.duration.observe({ agent_id: agentId }, result.duration_ms / 1000);
    this.steps.observe({ agent_id: agentId }, result.steps_used);
  }

  modelReplied(agentId: string, usage: TokenUsage): void {
    this.tokens.inc({ agent_id: agentId, token_type: 'prompt' }, usage.prompt_tokens);
    this.tokens.inc({ agent_id: agentId, token_type: 'completion' }, usage.completion_tokens);
  }

  /** `known` is false for a name that the model made up: made-up names must not become labels. */
  toolCalled(agentId: string, tool: string, known: boolean, ok: boolean): void {
    this.toolCalls.inc({
      agent_id: agentId,
      tool_name: known ? tool : 'unknown',
      status: ok ? 'ok' : 'error',
    });
  }
}
