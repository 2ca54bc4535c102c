import { AUTH_CONFIG, AuthModule } from '#libs/auth';
import {
  bounded,
  GRPC_TLS_CONFIG,
  loadConfig,
  redisUrl,
  str,
  TRUSTED_PROXIES_CONFIG,
  type ServiceFactory,
} from '#libs/chassis';
import { AGENT_ADDRESSES, AgentClient, type AgentAddresses } from './agent-client.js';
import { parseAgents } from './agents.js';
import { GatewayController } from './gateway.controller.js';
import { Owners } from './owners.js';
import { RATE_LIMIT_OPTIONS, RateLimits } from './rate-limits.js';

const service: ServiceFactory = (env) => {
  const config = loadConfig(env, {
    AGENT_GRPC_URLS: str({ desc: 'The agents: agent-search=grpc://host:port,…' }),
    ...AUTH_CONFIG,
    REDIS_URL: redisUrl({
      default: '',
      desc: 'Counts requests over all instances; without it, per instance',
    }),
    RATE_LIMIT_PER_MINUTE: bounded(
      1,
      10_000_000,
    )({ default: 600, desc: 'Requests of one API key, or of one user with a token' }),
    ...TRUSTED_PROXIES_CONFIG,
    ...GRPC_TLS_CONFIG,
  });
  const addresses: AgentAddresses = { urls: parseAgents(config.AGENT_GRPC_URLS), tls: config };
  return {
    name: 'gateway',
    description: "Baton's public door",
    trustedProxies: config.TRUSTED_PROXIES,
    imports: [AuthModule.forRoot({ service: 'gateway', config, allowedCallers: null, apiKeys: true })],
    controllers: [GatewayController],
    providers: [
      { provide: AGENT_ADDRESSES, useValue: addresses },
      AgentClient,
      Owners,
      {
        provide: RATE_LIMIT_OPTIONS,
        useValue: { redisUrl: config.REDIS_URL || null, perMinute: config.RATE_LIMIT_PER_MINUTE },
      },
      RateLimits,
    ],
  };
};

export default service;
