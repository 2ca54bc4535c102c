import { AUTH_CONFIG, AuthModule } from '#libs/auth';
import { bounded, GRPC_TLS_CONFIG, loadConfig, str, type ServiceFactory } from '#libs/chassis';
import { AGENT_ADDRESSES, AgentClient, type AgentAddresses } from './agent-client.js';
import { parseAgents } from './agents.js';
import { GatewayController } from './gateway.controller.js';
import { Owners } from './owners.js';
import { RATE_LIMIT_OPTIONS, RateLimits } from './rate-limits.js';
import { parseProxies, TRUSTED_PROXIES, TrustedProxies } from './trusted-proxies.js';

const service: ServiceFactory = (env) => {
  const config = loadConfig(env, {
    AGENT_GRPC_URLS: str({ desc: 'The agents: agent-search=grpc://host:port,…' }),
    ...AUTH_CONFIG,
    REDIS_URL: str({ default: '', desc: 'Counts requests over all instances; without it, per instance' }),
    RATE_LIMIT_PER_MINUTE: bounded(
      1,
      10_000_000,
    )({ default: 600, desc: 'Requests of one API key, or of one user with a token' }),
    TRUSTED_PROXIES: str({
      default: '',
      desc: "Proxies whose X-Forwarded-For names the client: addresses and networks; default: nobody's",
    }),
    ...GRPC_TLS_CONFIG,
  });
  const addresses: AgentAddresses = { urls: parseAgents(config.AGENT_GRPC_URLS), tls: config };
  return {
    name: 'gateway',
    description: "Baton's public door",
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
      { provide: TRUSTED_PROXIES, useValue: parseProxies(config.TRUSTED_PROXIES) },
      TrustedProxies,
    ],
  };
};

export default service;
