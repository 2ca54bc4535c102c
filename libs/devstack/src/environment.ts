import type { Env } from '#libs/chassis';
import { clientEnvironment, identityEnvironment } from './clients.js';
import { devGrpcPort, devPort, type PortName, type StackSettings } from './settings.js';

/** The services of the stack in the order in which they start; `module` is below `dist/apps`. */
export const SERVICES = [
  { name: 'scripted-llm', module: 'scripted-llm/src/service.js' },
  { name: 'identity', module: 'identity/src/service.js' },
  { name: 'tool-registry', module: 'tool-registry/src/service.js' },
  { name: 'tools-knowledge', module: 'tools/knowledge/src/service.js' },
  { name: 'agent-search', module: 'agents/search/src/search.agent.js' },
  { name: 'gateway', module: 'gateway/src/service.js' },
] as const satisfies ReadonlyArray<{ name: PortName; module: string }>;

export type ServiceName = (typeof SERVICES)[number]['name'];

/** Audiences of a developer's token: everything that has a public HTTP API. */
export const DEVELOPER_AUDIENCES: ServiceName[] = SERVICES.map(({ name }) => name).filter(
  (name) => name !== 'scripted-llm',
);

/** Which services the stack has with these settings: the scripted model only where no real one is configured. */
export function serviceNames(settings: StackSettings): ServiceName[] {
  return SERVICES.map(({ name }) => name).filter(
    (name) => name !== 'scripted-llm' || settings.model === null,
  );
}

export function serviceUrl(name: PortName, settings: Pick<StackSettings, 'portOffset'>): string {
  return `http://127.0.0.1:${devPort(name, settings.portOffset)}`;
}

export function serviceGrpcUrl(name: PortName, settings: Pick<StackSettings, 'portOffset'>): string {
  return `grpc://127.0.0.1:${devGrpcPort(name, settings.portOffset)}`;
}

/** Whether a service has a gRPC door. */
export function hasGrpc(name: ServiceName): boolean {
  return name.startsWith('agent-');
}

/** The developer may also ask an agent directly. */
const AGENT_CALLERS = 'gateway,orchestrator,supervisor,user:developer';

const DAY_SECONDS = 86_400;

interface StackAddresses {
  settings: StackSettings;
  databaseUrl: string;
  redisUrl: string;
  /** Null: the variable is not set, and the service does without. */
  kafkaBrokers: string | null;
  schemaRegistryUrl: string | null;
  /** Of it the clients' secrets are made. */
  secret: string;
}

/**
 * The environment of one service of the development stack: `base` (the person's own, so that e.g. search keys and LOG_LEVEL
 * pass through) with everything that the stack decides.
 */
export function serviceEnvironment(name: ServiceName, base: Env, stack: StackAddresses): Env {
  const { settings } = stack;
  const agents = SERVICES.filter((service) => hasGrpc(service.name));
  return {
    // An empty variable means its default here, and a wrong value to the services' validators.
    ...Object.fromEntries(
      Object.entries(base).filter(([variable, value]) => value !== '' && isPassedOn(variable, settings)),
    ),
    PORT: String(devPort(name, settings.portOffset)),
    GRPC_PORT: String(devGrpcPort(name, settings.portOffset)),
    HOST: '127.0.0.1',
    SERVICE_URL: serviceUrl(name, settings),
    BATON_ENV: 'development',
    ...clientEnvironment(stack.secret, name, serviceUrl('identity', settings)),
    ...(name === 'identity' ? identityEnvironment(stack.secret, developmentClients()) : {}),
    DATABASE_URL: stack.databaseUrl,
    REDIS_URL: stack.redisUrl,
    ...(stack.kafkaBrokers ? { KAFKA_BROKERS: stack.kafkaBrokers } : {}),
    ...(stack.schemaRegistryUrl ? { SCHEMA_REGISTRY_URL: stack.schemaRegistryUrl } : {}),
    TOOL_REGISTRY_URL: serviceUrl('tool-registry', settings),
    AGENT_GRPC_URLS: agents.map((agent) => `${agent.name}=${serviceGrpcUrl(agent.name, settings)}`).join(','),
    ALLOWED_CALLERS: AGENT_CALLERS,
    ...(settings.model ? {} : scriptedModel(settings)),
  };
}

/** The stack's gRPC doors are without TLS, whether there is a Kafka is the stack's to say, and its own has one node and no TLS. */
function isPassedOn(variable: string, { kafkaBrokers }: StackSettings): boolean {
  if (/^(GRPC_TLS_.*|KAFKA_BROKERS|SCHEMA_REGISTRY_URL)$/.test(variable)) return false;
  return kafkaBrokers !== null || !/^KAFKA_(SSL|SASL|REPLICATION)/.test(variable);
}

/** Every service of the stack, and the command line, whose tokens for the developer live for a day. */
function developmentClients() {
  const names = SERVICES.map(({ name }) => name).filter(
    (name) => name !== 'scripted-llm' && name !== 'identity',
  );
  return {
    ...Object.fromEntries([...names, 'orchestrator', 'supervisor', 'dead-letters'].map((name) => [name, {}])),
    cli: { token_seconds: DAY_SECONDS },
  };
}

function scriptedModel(settings: StackSettings): Env {
  return {
    OPENAI_BASE_URL: `${serviceUrl('scripted-llm', settings)}/v1`,
    OPENAI_API_KEY: 'scripted',
    BATON_MODEL: 'scripted',
  };
}
