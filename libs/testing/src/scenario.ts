/** One reply of the scripted model; see apps/scripted-llm. */
export interface ScenarioStep {
  content?: string;
  tool_calls?: Array<{ name: string; arguments: Record<string, unknown> | string; id?: string }>;
  finish_reason?: string;
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  latency_ms?: number;
  error?: { status: number; retry_after?: number | string; times?: number };
  hang?: boolean;
  cut_after?: number;
  times?: number;
  vary?: boolean;
  chunk_chars?: number;
  chunk_delay_ms?: number;
}

export interface Scenario {
  /** Also the text by which it is recognised, `[scenario:name]`. */
  name: string;
  steps: ScenarioStep[];
  on_end?: 'repeat_last' | 'rules';
  latency_ms?: number;
}

/** What the scripted model saw of one scenario. */
export interface ScenarioCounts {
  requests: number;
  by_step: Record<string, number>;
  in_flight: number;
  max_in_flight: number;
  aborted: number;
}

/** A step that calls one tool. */
export const callTool = (name: string, args: Record<string, unknown> | string): ScenarioStep => ({
  tool_calls: [{ name, arguments: args }],
});

export const answer = (content: string): ScenarioStep => ({ content });
