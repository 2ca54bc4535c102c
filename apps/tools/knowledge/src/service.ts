import { AUTH_CONFIG, AuthModule } from '#libs/auth';
import {
  bounded,
  loadConfig,
  postgresUrl,
  str,
  httpUrl,
  type Env,
  type ServiceDefinition,
} from '#libs/chassis';
import { DatabaseModule } from '#libs/database';
import { EMBEDDING_CONFIG, embedderModule } from '#libs/llm';
import { serveTools } from '#libs/tools';
import { DocumentIndexModule } from './document-index.module.js';
import { knowledgeBaseTool } from './knowledge-base.tool.js';
import { Knowledge1763900000000 } from './migrations/1763900000000-knowledge.js';
import { PassageSearch } from './passage-search.js';
import { vectorSearchTool } from './vector-search.tool.js';
import { WEB_SEARCH, WebSearchModule } from './web-search.module.js';
import type { WebSearch } from './web-providers.js';
import { webSearchTool } from './web-search.tool.js';

const CONFIG = {
  DATABASE_URL: postgresUrl({ desc: 'Postgres; the service keeps to its schema `knowledge`' }),
  ...AUTH_CONFIG,
  TOOL_REGISTRY_URL: httpUrl({ desc: 'Where the tools are registered' }),
  SERVICE_URL: httpUrl({
    default: undefined,
    desc: 'Where the registry reaches this service; default: loopback',
  }),
  KNOWLEDGE_TENANT_PASSAGES: bounded(1, 200_000)({ default: 50_000, desc: 'Passages of one tenant' }),
  KNOWLEDGE_CACHED_PASSAGES: bounded(
    1,
    2_000_000,
  )({ default: 200_000, desc: 'Passages with vectors in memory' }),
  SEARXNG_URL: httpUrl({ default: '', desc: 'A SearXNG instance that allows JSON' }),
  BRAVE_API_KEY: str({ default: '' }),
  BRAVE_URL: httpUrl({ default: 'https://api.search.brave.com' }),
  TAVILY_API_KEY: str({ default: '' }),
  TAVILY_URL: httpUrl({ default: 'https://api.tavily.com' }),
  ...EMBEDDING_CONFIG,
};

const NAME = 'tools-knowledge';
/** A 1 MiB document whose characters are escaped in JSON. */
const MAX_BODY_BYTES = 4_194_304;

export default function service(env: Env): ServiceDefinition {
  const config = loadConfig(env, CONFIG);
  return {
    name: NAME,
    description: 'Indexes documents and serves the tools knowledge_base, vector_search and web_search.',
    maxBodyBytes: MAX_BODY_BYTES,
    imports: [
      AuthModule.forRoot({
        service: NAME,
        config,
        allowedCallers: ['tool-registry'],
      }),
      DatabaseModule.forRoot({
        url: config.DATABASE_URL,
        schema: 'knowledge',
        migrations: [Knowledge1763900000000],
      }),
      embedderModule(config),
      serveTools({
        imports: [
          DocumentIndexModule.register({
            tenantPassages: config.KNOWLEDGE_TENANT_PASSAGES,
            cachedPassages: config.KNOWLEDGE_CACHED_PASSAGES,
          }),
          WebSearchModule.register(config),
        ],
        tools: {
          inject: [PassageSearch, WEB_SEARCH],
          create: (passages: PassageSearch, web: WebSearch) => [
            knowledgeBaseTool(passages),
            vectorSearchTool(passages),
            webSearchTool(web),
          ],
        },
        registryUrl: config.TOOL_REGISTRY_URL,
        serviceUrl: config.SERVICE_URL,
      }),
    ],
  };
}
