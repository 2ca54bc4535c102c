import { randomBytes } from 'node:crypto';
import { Tokens } from '#libs/auth';
import type { Env } from '#libs/chassis';
import {
  clientEnvironment,
  clientSecretOf,
  freePort,
  identityEnvironment,
  spawnService,
  type ClientRights,
  type SpawnedService,
} from '#libs/devstack';
import { TestSigner } from './test-signer.js';

/** Every service that a test may start, and the test itself, which may call all of them. */
const CLIENTS: Record<string, ClientRights> = {
  gateway: {},
  orchestrator: {},
  supervisor: {},
  'dead-letters': {},
  'tool-registry': {},
  'tools-test': {},
  'tools-knowledge': {},
  // Results go to whoever gave the task.
  'agent-test': { audiences: ['tool-registry', 'orchestrator', 'gateway', 'dead-letters', 'tests'] },
  'agent-search': {},
  cli: {},
  tests: { audiences: ['*'], scopes: ['tasks:read', 'tasks:write', 'admin'] },
};

/** The identity service of a stack: the real one, in a process of its own, with a signing key that the tests know. */
export class TestIdentity {
  private readonly secret = randomBytes(32).toString('hex');
  /** Signs with the key of the identity service: right tokens, and wrong ones. */
  readonly signer: TestSigner;

  private constructor(private readonly port: number) {
    this.signer = new TestSigner(this.url);
  }

  static async create(): Promise<TestIdentity> {
    return new TestIdentity(await freePort());
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Always at the same address. @param env what every service of the stack gets */
  start(env: Env): Promise<SpawnedService> {
    const own: Env = {
      ...identityEnvironment(this.secret, CLIENTS),
      IDENTITY_SIGNING_KEY: this.signer.pem,
      BATON_TOKEN_ISSUER: this.url,
      PORT: String(this.port),
    };
    return spawnService({ path: 'identity', env: { ...env, ...own } });
  }

  /** How a client authenticates: `gateway`, `agent-test`, `tests`, … */
  env(client: string): Env {
    return clientEnvironment(this.secret, client, this.url);
  }

  /** Tokens as a service gets them. */
  tokens(client: string): Tokens {
    const clientSecret = clientSecretOf(this.secret, client);
    return new Tokens({ identityUrl: this.url, clientId: client, clientSecret });
  }
}
