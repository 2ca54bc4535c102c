import { randomBytes } from 'node:crypto';
import { Tokens, type Subject } from '#libs/auth';
import type { Env } from '#libs/chassis';
import { HttpClient } from '#libs/chassis';
import {
  clientEnvironment,
  clientSecretOf,
  identityEnvironment,
  spawnService,
  startThrowawayStack,
  type SpawnedService,
  type ThrowawayStack,
} from '#libs/devstack';

/** What both sides of every comparison share: the same Postgres, Redis, model and tool, each a process of its own. */
export interface BenchStack {
  infrastructure: ThrowawayStack;
  llm: SpawnedService;
  registry: SpawnedService;
  tool: SpawnedService;
  /** Tokens of a client: `bench` may call the agents, `tool-registry` the tool. */
  tokens(client: string): Tokens;
  /** For whom the tasks run that enter the agent behind its doors. */
  subject(): Promise<Subject>;
  /** Environment of an agent on this stack. */
  agentEnv: Env;
  /** Environment of the service that hands tasks to it. */
  callerEnv: Env;
  spawnAgent(env: Env): Promise<SpawnedService>;
  scenario(scenario: object): Promise<void>;
  scenarioStats(name: string): Promise<{ max_in_flight: number; requests: number }>;
  stop(): Promise<void>;
}

/** The agents of `spawnAgent`: the worker of the bench's own process never takes a task of theirs. */
export const SPAWNED_AGENT = 'agent-spawned';

const ISSUER = 'http://identity.bench';
const WORK = ['tasks:read', 'tasks:write'];

export async function startBenchStack(progress: (line: string) => void): Promise<BenchStack> {
  progress('starting Postgres, Redis, identity, model, registry and tool');
  const infrastructure = await startThrowawayStack(undefined, progress);
  const secret = randomBytes(32).toString('hex');
  const common: Env = {
    DATABASE_URL: infrastructure.databaseUrl,
    REDIS_URL: infrastructure.redisUrl,
    LOG_LEVEL: 'error',
  };
  const services: SpawnedService[] = [];
  const spawn = async (path: string, env: Env) => {
    const service = await spawnService({ path, env: { ...common, ...env } });
    services.push(service);
    return service;
  };
  const clients = {
    bench: { audiences: ['agent-bench', SPAWNED_AGENT], scopes: WORK },
    tests: { audiences: [SPAWNED_AGENT], scopes: WORK },
  };
  const identity = await spawn('identity', {
    ...identityEnvironment(secret, {
      ...clients,
      'agent-bench': {},
      [SPAWNED_AGENT]: {},
      'tool-registry': {},
      'tools-bench': {},
    }),
    BATON_TOKEN_ISSUER: ISSUER,
  });
  const authOf = (client: string): Env => ({
    ...clientEnvironment(secret, client, identity.url),
    BATON_TOKEN_ISSUER: ISSUER,
  });
  const tokens = (client: string) =>
    new Tokens({
      identityUrl: identity.url,
      clientId: client,
      clientSecret: clientSecretOf(secret, client),
    });
  const llm = await spawn('scripted-llm', {});
  const registry = await spawn('tool-registry', {
    ...authOf('tool-registry'),
    TOOL_ACL: JSON.stringify({ 'agent-bench': ['lookup'], [SPAWNED_AGENT]: ['lookup'] }),
  });
  const tool = await spawn('bench/src/tool.main.js', {
    ...authOf('tools-bench'),
    TOOL_REGISTRY_URL: registry.url,
  });
  const agentEnv: Env = {
    ...common,
    ...authOf('agent-bench'),
    HOST: '127.0.0.1',
    ALLOWED_CALLERS: 'bench,tests',
    TOOL_REGISTRY_URL: registry.url,
    OPENAI_BASE_URL: `${llm.url}/v1`,
    OPENAI_API_KEY: 'bench',
    BATON_MODEL: 'scripted',
    WORKER_CONCURRENCY: '2000',
    DATABASE_POOL: '8',
  };
  const http = new HttpClient();
  return {
    infrastructure,
    llm,
    registry,
    tool,
    tokens,
    subject: async () => {
      const authorization = await tokens('bench').authorization('agent-bench');
      const token = authorization.slice('Bearer '.length);
      return { tenant: 'system', userId: null, scopes: WORK, token };
    },
    agentEnv,
    callerEnv: { ...common, ...authOf('tests') },
    spawnAgent: (env) => spawn('bench/src/agent.main.js', { ...agentEnv, ...authOf(SPAWNED_AGENT), ...env }),
    scenario: async (scenario) =>
      void (await http.json(`${llm.url}/scenarios`, { method: 'POST', body: scenario })),
    scenarioStats: async (name) =>
      (await http.json<{ max_in_flight: number; requests: number }>(`${llm.url}/scenarios/${name}`)).body,
    stop: async () => {
      await Promise.all(services.map((service) => service.stop()));
      await infrastructure.stop();
    },
  };
}
