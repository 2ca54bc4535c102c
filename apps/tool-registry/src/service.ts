import type { Env, ServiceDefinition } from '#libs/chassis';
import { AuthModule } from '#libs/auth';
import { DatabaseModule } from '#libs/database';
import { ToolAcl } from './acl.js';
import { explainBodyError } from './body-errors.js';
import { Catalogue } from './catalogue/catalogue.js';
import { HEALTH_INTERVAL_MS, ToolHealthWatch } from './catalogue/tool-health.js';
import { ToolRegistration } from './catalogue/registration.js';
import { ToolsRepository } from './catalogue/tools.repository.js';
import { readConfig } from './config.js';
import { EffectLedger } from './effects/effect-ledger.js';
import { EffectPruning } from './effects/effect-pruning.js';
import { EffectsRepository } from './effects/effects.repository.js';
import { EndpointPolicy } from './endpoints/endpoint-policy.js';
import { ToolCaller } from './endpoints/tool-caller.js';
import { Invocations } from './invocation/invocations.js';
import { RateLimits, REDIS_URL } from './invocation/rate-limits.js';
import { Registry1763800000000 } from './migrations/1763800000000-registry.js';
import { RegistryController } from './registry.controller.js';
import { Schemas } from './schemas/schemas.js';

const CALLERS = ['agent-*', 'tools-*', 'gateway', 'orchestrator'];

export default function toolRegistry(env: Env): ServiceDefinition {
  const config = readConfig(env);
  return {
    name: 'tool-registry',
    description: 'Which tools exist and who may call them; every tool call passes here',
    // Longer than `Invocations` waits for writes that are under way.
    drainMs: 25_000,
    imports: [
      AuthModule.forRoot({
        service: 'tool-registry',
        config: config.auth,
        allowedCallers: config.development ? [...CALLERS, 'user:developer'] : CALLERS,
      }),
      DatabaseModule.forRoot({
        url: config.databaseUrl,
        schema: 'registry',
        migrations: [Registry1763800000000],
      }),
    ],
    controllers: [RegistryController],
    providers: [
      { provide: ToolAcl, useValue: new ToolAcl(config.grants) },
      {
        provide: EndpointPolicy,
        useValue: new EndpointPolicy({ development: config.development, allow: config.endpointAllow }),
      },
      { provide: REDIS_URL, useValue: config.redisUrl },
      ToolsRepository,
      Catalogue,
      Schemas,
      ToolCaller,
      ToolRegistration,
      { provide: HEALTH_INTERVAL_MS, useValue: config.healthIntervalMs },
      ToolHealthWatch,
      RateLimits,
      EffectsRepository,
      EffectLedger,
      EffectPruning,
      Invocations,
    ],
    explainBodyError,
  };
}
