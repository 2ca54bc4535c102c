import { Module, type DynamicModule, type InjectionToken } from '@nestjs/common';
import { TerminalError } from '#libs/contracts';
import { REGISTRAR_OPTIONS, ToolRegistrar } from './registrar.js';
import type { Tool } from './tool.js';
import { TOOLS, ToolsController } from './tools.controller.js';

export interface ServeToolsOptions {
  /** The tools, or how to make them from providers (of `imports` or global ones). */
  // oxlint-disable-next-line typescript/no-explicit-any -- the providers' types are known to `create` alone
  tools: Tool[] | { inject: InjectionToken[]; create: (...providers: any[]) => Tool[] | Promise<Tool[]> };
  /** Modules whose providers `tools.inject` names. */
  imports?: DynamicModule['imports'];
  /** Base URL of the tool registry (`TOOL_REGISTRY_URL`). */
  registryUrl: string;
  /** This service's base URL as the registry reaches it (`SERVICE_URL`). Default, also for '': loopback and the port that it listens on. */
  serviceUrl?: string | null;
}

@Module({})
class ToolServiceModule {}

/**
 * The module that makes a service a tool service: `POST /tools/:name/invoke`, `GET /tools`, and registration at the registry
 * in the background. The service itself decides who may call it: `AuthModule` with `allowedCallers: ['tool-registry']`.
 */
export function serveTools(options: ServeToolsOptions): DynamicModule {
  const { tools, registryUrl } = options;
  const serviceUrl = options.serviceUrl || null;
  const factory = Array.isArray(tools) ? { inject: [], create: () => tools } : tools;
  return {
    module: ToolServiceModule,
    imports: options.imports,
    controllers: [ToolsController],
    providers: [
      {
        provide: TOOLS,
        inject: factory.inject,
        useFactory: async (...providers: unknown[]) => distinct(await factory.create(...providers)),
      },
      { provide: REGISTRAR_OPTIONS, useValue: { registryUrl: registryUrl.replace(/\/+$/, ''), serviceUrl } },
      ToolRegistrar,
    ],
  };
}

function distinct(tools: Tool[]): Tool[] {
  const ids = tools.map((tool) => `${tool.name}@${tool.version}`);
  const twice = ids.filter((id, i) => ids.indexOf(id) !== i);
  if (twice.length > 0)
    throw new TerminalError('tool-definition-invalid', `Defined twice: ${twice.join(', ')}`);
  return tools;
}
