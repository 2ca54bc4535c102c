import { AUTH_CONFIG, AuthModule } from '#libs/auth';
import { loadConfig, runService, str, type ServiceFactory } from '#libs/chassis';
import { defineTool, serveTools } from '#libs/tools';

/** A tool that answers at once: what is measured is everything around it. */
const lookup = defineTool({
  name: 'lookup',
  version: '1.0.0',
  description: 'Looks up a word',
  effect: 'read',
  parameters: {
    type: 'object',
    properties: { query: { type: 'string', maxLength: 500 } },
    required: ['query'],
  },
  returns: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
  rateLimit: 100_000,
  timeoutMs: 8000,
  handler: async (params) => ({ text: `Found ${String((params as { query: string }).query)}. `.repeat(8) }),
});

const service: ServiceFactory = (env) => {
  const config = loadConfig(env, {
    ...AUTH_CONFIG,
    TOOL_REGISTRY_URL: str(),
    SERVICE_URL: str({ default: '' }),
  });
  return {
    name: 'tools-bench',
    description: 'The tool of the benchmark task',
    imports: [
      AuthModule.forRoot({
        service: 'tools-bench',
        config,
        allowedCallers: ['tool-registry'],
      }),
      serveTools({ tools: [lookup], registryUrl: config.TOOL_REGISTRY_URL, serviceUrl: config.SERVICE_URL }),
    ],
  };
};

void runService(service);
