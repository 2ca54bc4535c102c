import type { AuthConfig, Scope, Subject, Tokens } from '#libs/auth';
import { HttpClient, type Env } from '#libs/chassis';
import {
  DEVELOPER_AUDIENCES,
  spawnService,
  startThrowawayStack,
  type SpawnedService,
  type SpawnOptions,
  type ThrowawayStack,
} from '#libs/devstack';
import { eventually } from './eventually.js';
import { GrpcApi } from './grpc-api.js';
import type { Scenario, ScenarioCounts } from './scenario.js';
import { TaskApi } from './task-api.js';
import { TEST_TOOLS } from './test-tool-names.js';
import { TEST_CALLER, TestCaller } from './test-caller.js';
import { TestIdentity } from './test-identity.js';
import type { TestSigner, TokenClaims } from './test-signer.js';
import { TestTools } from './test-tools.js';

/** The agent programs that a stack can start. */
export const AGENTS = {
  'agent-test': 'libs/testing/src/test-agent.main.js',
  'agent-search': 'agents/search',
} as const;
export type AgentName = keyof typeof AGENTS;

export interface SpawnAgentOptions {
  /** Default `agent-test`. */
  agent?: AgentName;
  /** Default `ready`. */
  until?: SpawnOptions['until'];
}

/** The client that a program is. */
const CLIENT_OF: Record<string, string> = {
  'libs/testing/src/test-agent.main.js': 'agent-test',
  'agents/search': 'agent-search',
  'tools/knowledge': 'tools-knowledge',
};

/** A process on a machine that does a lot else: no test is about how fast a service starts. */
const START_TIMEOUT_MS = 120_000;

/** `agent-test` may call every test tool. */
const REGISTRY_ENV = { TOOL_ACL_EXTRA: JSON.stringify({ 'agent-test': TEST_TOOLS }) };

/** Who a test is: a person with a development token. */
export interface Person {
  /** `developer` (default) or `user-…`: agents refuse others at their own door. */
  userId?: string;
  tenant?: string;
  /** Default: `tasks:read` and `tasks:write`. */
  scopes?: Scope[];
}

/**
 * Postgres, Redis, the identity service, the scripted model, the tool registry and the tests' tools, for one test file; every service is
 * a process of its own.
 * Agents and gateways are started by the test, each with its own variables.
 */
export class TestStack {
  private readonly services: SpawnedService[] = [];
  private readonly grpcApis: GrpcApi[] = [];
  private readonly http = new HttpClient();

  private constructor(
    readonly infrastructure: ThrowawayStack,
    readonly env: Env,
    private readonly issuer: TestIdentity,
    /** The identity service that runs now. */
    public identity: SpawnedService,
    readonly llm: SpawnedService,
    readonly registry: SpawnedService,
    readonly tools: TestTools,
  ) {
    this.services.push(identity, llm, registry);
  }

  /** @param env variables of every service on top of the common ones */
  static async start(env: Env = {}): Promise<TestStack> {
    const started: Array<{ stop(): Promise<void> }> = [];
    const keep = <T extends { stop(): Promise<void> }>(part: T): T => (started.push(part), part);
    try {
      const infrastructure = keep(await startThrowawayStack());
      const common: Env = {
        DATABASE_URL: infrastructure.databaseUrl,
        REDIS_URL: infrastructure.redisUrl,
        LOG_LEVEL: 'info',
        ...env,
      };
      const timeoutMs = START_TIMEOUT_MS;
      const issuer = await TestIdentity.create();
      const [identity, llm, registry] = await Promise.all([
        issuer.start(common).then(keep),
        spawnService({ path: 'scripted-llm', env: common, timeoutMs }).then(keep),
        spawnService({
          path: 'tool-registry',
          env: { ...common, ...issuer.env('tool-registry'), ...REGISTRY_ENV },
          timeoutMs,
        }).then(keep),
      ]);
      const tools = keep(new TestTools());
      await tools.start(issuer.env('tools-test') as unknown as AuthConfig, registry.url);
      await eventually(async () => (await fetch(`${tools.url}/ready`)).ok, Boolean, {
        what: 'registered tools',
      });
      return new TestStack(infrastructure, common, issuer, identity, llm, registry, tools);
    } catch (error) {
      // Nobody has the stack that could stop it.
      await Promise.allSettled(started.map((part) => part.stop()));
      throw error;
    }
  }

  /**
   * One more agent process. `env` is its own: `BATON_FAILPOINTS`, `LEASE_MS`, `RECONCILE_MS`, `LOST_AFTER_MS`, `PORT`, …
   * It is stopped with the stack, if the test has not ended it before.
   */
  spawnAgent(
    env: Env = {},
    { agent = 'agent-test', until }: SpawnAgentOptions = {},
  ): Promise<SpawnedService> {
    const own: Env = {
      TOOL_REGISTRY_URL: this.registry.url,
      OPENAI_BASE_URL: `${this.llm.url}/v1`,
      OPENAI_API_KEY: 'test',
      BATON_MODEL: 'scripted',
      ALLOWED_CALLERS: 'gateway,orchestrator,tests,user:developer,user:user-*',
      DATABASE_POOL: '4',
      ...env,
    };
    return this.spawn(AGENTS[agent], own, until);
  }

  /** A gateway in front of these agents, by the URLs of their gRPC doors. */
  spawnGateway(agents: Partial<Record<AgentName, string>>, env: Env = {}): Promise<SpawnedService> {
    const urls = Object.entries(agents).map(([id, url]) => `${id}=${url}`);
    return this.spawn('gateway', {
      AGENT_GRPC_URLS: urls.join(','),
      RATE_LIMIT_PER_MINUTE: '1000000',
      ...env,
    });
  }

  /** One more instance of the tool registry, with variables of its own; it shares catalogue and effect ledger with the first. */
  spawnRegistry(env: Env = {}): Promise<SpawnedService> {
    return this.spawn('tool-registry', { ...REGISTRY_ENV, ...env });
  }

  /** Any other service: the app below `apps/`, with the common variables and its own. */
  async spawn(path: string, env: Env = {}, until?: SpawnOptions['until']): Promise<SpawnedService> {
    const own = { ...this.env, ...this.issuer.env(CLIENT_OF[path] ?? path), ...env };
    const service = await spawnService({ path, env: own, until, timeoutMs: START_TIMEOUT_MS });
    this.services.push(service);
    return service;
  }

  /** Teaches the model a script; a prompt that holds the returned text (`[scenario:name]`) follows it. */
  async scenario(scenario: Scenario): Promise<string> {
    await this.http.json(`${this.llm.url}/scenarios`, { method: 'POST', body: scenario });
    return `[scenario:${scenario.name}]`;
  }

  async scenarioCounts(name: string): Promise<ScenarioCounts> {
    return (await this.http.json<ScenarioCounts>(`${this.llm.url}/scenarios/${name}`)).body;
  }

  /** Starts the identity service again where the one was that has ended. */
  async restartIdentity(): Promise<void> {
    this.identity = await this.issuer.start(this.env);
    this.services.push(this.identity);
  }

  /** Signs with the key of the identity service: right tokens, and wrong ones. */
  get signer(): TestSigner {
    return this.issuer.signer;
  }

  /** Tokens as a service gets them, from the identity service: of `gateway`, `agent-test`, `tests`, … */
  tokens(client: string): Tokens {
    return this.issuer.tokens(client);
  }

  /** A token of a person that opens what `./baton up` opens, and every agent; `claims` override its own. */
  token({ userId = 'developer', tenant = 'dev', scopes }: Person = {}, claims: TokenClaims = {}): string {
    return this.signer.sign({
      sub: userId,
      user: userId,
      tenant,
      aud: [...DEVELOPER_AUDIENCES, ...Object.keys(AGENTS)],
      scope: (scopes ?? ['tasks:read', 'tasks:write']).join(' '),
      exp: Math.floor(Date.now() / 1000) + 3600,
      ...claims,
    });
  }

  /** A service in the test's process that hands off tasks and gets their results; the test stops it. */
  startCaller(): Promise<TestCaller> {
    return TestCaller.start({ ...this.env, ...this.issuer.env(TEST_CALLER) });
  }

  /** A person on whose behalf the caller hands off. */
  subject({ userId = 'developer', tenant = 'dev', scopes }: Person = {}): Subject {
    const token = this.token({ userId, tenant, scopes }, { aud: TEST_CALLER });
    return { tenant, userId, scopes: scopes ?? ['tasks:read', 'tasks:write'], token };
  }

  /** The API of an agent process. */
  api(agent: SpawnedService, person?: Person): TaskApi {
    return TaskApi.direct(agent.url, this.token(person));
  }

  /** The gRPC door of an agent process. */
  grpc(agent: SpawnedService, person?: Person): GrpcApi {
    const api = new GrpcApi(agent.grpcUrl, this.token(person));
    this.grpcApis.push(api);
    return api;
  }

  /** The API of an agent through a gateway. */
  apiThrough(gateway: SpawnedService, agent: AgentName, person?: Person): TaskApi {
    return TaskApi.through(gateway.url, agent, this.token(person));
  }

  /** Ends everything, paused processes too. */
  async stop(): Promise<void> {
    for (const api of this.grpcApis) api.close();
    await Promise.all(this.services.map((service) => service.stop(3000)));
    await this.tools.stop();
    await this.http.close();
    await this.infrastructure.stop();
  }
}
