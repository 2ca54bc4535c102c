import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AgentDefinition } from '#libs/agent';
import { projectRoot, startService, type Env, type RunningService, type ServiceFactory } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';
import { SERVICES, type ServiceName } from './environment.js';

export interface HostOptions {
  names: ServiceName[];
  /** The environment of each service. */
  env: (name: ServiceName) => Env;
  /** Called when a service listens. */
  onStarted?: (service: RunningService) => void;
}

export interface HostedServices {
  services: RunningService[];
  /** Drains them in reverse order; safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Runs services of the built project in this process, in the stack's order, each with its own environment and port.
 * @throws what the first service that cannot start throws, after those before it were stopped.
 */
export async function hostServices({ names, env, onStarted }: HostOptions): Promise<HostedServices> {
  const services: RunningService[] = [];
  let stopping: Promise<void> | undefined;
  const stop = () => (stopping ??= stopAll(services));
  try {
    for (const { name, module } of SERVICES.filter((service) => names.includes(service.name))) {
      const service = await startService(await loadFactory(module), env(name));
      services.push(service);
      onStarted?.(service);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { services, stop };
}

async function stopAll(services: RunningService[]): Promise<void> {
  for (const service of services.toReversed()) await service.stop();
}

/** A module exports a service's factory, or the definition of an agent. */
async function loadFactory(module: string): Promise<ServiceFactory> {
  const file = join(projectRoot(), 'dist/apps', module);
  const { default: exported } = (await import(pathToFileURL(file).href)) as { default?: unknown };
  if (typeof exported === 'function') return exported as ServiceFactory;
  if (typeof exported !== 'object' || exported === null)
    throw new TerminalError('not-a-service', `${file} has no default export`);
  const { agentService } = await import('#libs/agent');
  return agentService(exported as AgentDefinition);
}
