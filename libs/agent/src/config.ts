import { AUTH_CONFIG } from '#libs/auth';
import { bool, bounded, httpUrl, loadConfig, postgresUrl, redisUrl, str, type Env } from '#libs/chassis';
import { LLM_CONFIG } from '#libs/llm';
import { HANDOFF_CONFIG } from '#libs/messaging';

/** What an agent service reads from its environment, besides the chassis' and the model's variables. */
export function agentConfig(env: Env) {
  return loadConfig(env, {
    ...LLM_CONFIG,
    ...AUTH_CONFIG,
    ...HANDOFF_CONFIG,
    DATABASE_URL: postgresUrl({ desc: 'Postgres of the schema `agents`' }),
    DATABASE_POOL: bounded(2, 100)({ default: 8, desc: 'Connections to Postgres' }),
    REDIS_URL: redisUrl({ desc: 'Redis of the queue and the live events' }),
    TOOL_REGISTRY_URL: httpUrl({ desc: 'Base URL of the tool registry' }),
    ALLOWED_CALLERS: str({
      default: 'orchestrator,supervisor,gateway',
      desc: 'Services whose tokens are accepted, separated by commas; user:<id> for people who come directly',
    }),
    WORKER_CONCURRENCY: bounded(
      1,
      10_000,
    )({ default: 500, desc: 'Tasks from the queue in flight in this process' }),
    LOCAL_RUNS: bounded(
      0,
      10_000,
    )({
      default: 64,
      desc: 'Tasks that begin at once in the process that accepted them; more go through the queue',
    }),
    LEASE_MS: bounded(
      300,
      600_000,
    )({ default: 15_000, desc: 'A worker that is silent for so long loses its tasks' }),
    RECONCILE_MS: bounded(50, 60_000)({ default: 2000, desc: 'Pause between two looks for lost tasks' }),
    LOST_AFTER_MS: bounded(
      100,
      600_000,
    )({ default: 8000, desc: 'Age from which a waiting task is looked up in Redis' }),
    TASK_TIMEOUT_MS: bounded(
      1000,
      86_400_000,
    )({ default: 900_000, desc: 'Deadline of a task from its acceptance' }),
    MODEL_TIMEOUT_MS: bounded(100, 3_600_000)({ default: 120_000, desc: 'Longest single model call' }),
    MAX_BACKLOG: bounded(
      1,
      1_000_000,
    )({ default: 10_000, desc: 'Waiting tasks per tenant; more are refused with 429' }),
    ACCEPTED_EVENTS: bool({
      default: false,
      desc: 'Also tell `agent.events` of every accepted task, not of ended ones alone',
    }),
    RETENTION_DAYS: bounded(1, 3650)({ default: 30, desc: 'Age at which ended tasks are deleted' }),
  });
}

export type AgentConfig = ReturnType<typeof agentConfig>;
