import { bounded, json, loadConfig, postgresUrl, redisUrl, str, type Env } from '#libs/chassis';
import { AUTH_CONFIG, type AuthConfig } from '#libs/auth';
import { TerminalError } from '#libs/contracts';

/** Which tools each agent may call; `*` is every tool. */
export type Grants = Record<string, string[]>;

const DEFAULT_GRANTS: Grants = {
  'agent-search': ['web_search', 'vector_search', 'knowledge_base'],
  'agent-email': ['send_email', 'get_email_thread'],
  'agent-code': ['code_exec', 'git_read', 'package_search'],
  'agent-data': ['sql_query', 'csv_read', 'chart_generate'],
};

export interface RegistryConfig {
  databaseUrl: string;
  redisUrl: string;
  auth: AuthConfig;
  development: boolean;
  grants: Grants;
  /** CIDR ranges and host names at which tools may live besides public addresses. */
  endpointAllow: string[];
  /** Between two looks at one tool service. */
  healthIntervalMs: number;
}

/** @throws TerminalError `configuration` naming every wrong variable. */
export function readConfig(env: Env): RegistryConfig {
  const config = loadConfig(env, {
    DATABASE_URL: postgresUrl({ desc: 'Postgres' }),
    REDIS_URL: redisUrl({ desc: 'Redis, for rate limits over all instances' }),
    ...AUTH_CONFIG,
    BATON_ENV: str({ default: 'production', choices: ['development', 'production'] }),
    TOOL_ACL: json<Grants>({ default: DEFAULT_GRANTS, desc: 'JSON: agent → tools that it may call' }),
    TOOL_ACL_EXTRA: json<Grants>({ default: {}, desc: 'JSON: grants on top of TOOL_ACL' }),
    TOOL_ENDPOINT_ALLOW: str({
      default: '',
      desc: 'Comma list of CIDR ranges and host names inside the cluster',
    }),
    TOOL_HEALTH_MS: bounded(
      50,
      3_600_000,
    )({ default: 10_000, desc: 'Pause between two looks at one tool service' }),
  });
  const development = config.BATON_ENV === 'development';
  return {
    databaseUrl: config.DATABASE_URL,
    redisUrl: config.REDIS_URL,
    auth: config,
    development,
    grants: merge(
      readGrants('TOOL_ACL', config.TOOL_ACL),
      readGrants('TOOL_ACL_EXTRA', config.TOOL_ACL_EXTRA),
      development ? { developer: ['*'] } : {},
    ),
    endpointAllow: config.TOOL_ENDPOINT_ALLOW.split(',')
      .map((entry) => entry.trim())
      .filter(Boolean),
    healthIntervalMs: config.TOOL_HEALTH_MS,
  };
}

function readGrants(variable: string, value: unknown): Grants {
  const isList = (tools: unknown) => Array.isArray(tools) && tools.every((tool) => typeof tool === 'string');
  const isGrants =
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every(isList);
  if (!isGrants)
    throw new TerminalError(
      'configuration',
      `Wrong configuration: ${variable}: {"<agent>": ["<tool>", …], …} is wanted`,
    );
  return value as Grants;
}

function merge(...all: Grants[]): Grants {
  const merged: Grants = {};
  for (const grants of all)
    for (const [agent, tools] of Object.entries(grants)) merged[agent] = [...(merged[agent] ?? []), ...tools];
  return merged;
}
