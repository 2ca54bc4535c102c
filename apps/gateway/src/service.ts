import { AUTH_CONFIG, AuthModule } from '#libs/auth';
import { loadConfig, str, type ServiceFactory } from '#libs/chassis';
import { parseAgents } from './agents.js';
import { Forwarder } from './forwarder.js';
import { AGENT_URLS, GatewayController } from './gateway.controller.js';

const service: ServiceFactory = (env) => {
  const config = loadConfig(env, {
    AGENT_URLS: str({ desc: 'The agents: agent-search=http://host:port,…' }),
    ...AUTH_CONFIG,
  });
  return {
    name: 'gateway',
    description: "Baton's public door",
    imports: [AuthModule.forRoot({ service: 'gateway', config, allowedCallers: null, apiKeys: true })],
    controllers: [GatewayController],
    providers: [{ provide: AGENT_URLS, useValue: parseAgents(config.AGENT_URLS) }, Forwarder],
  };
};

export default service;
