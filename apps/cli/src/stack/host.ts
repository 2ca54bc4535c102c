import { stopOnSignal } from '#libs/chassis';
import { messageOf } from '#libs/contracts';
import {
  devGrpcPort,
  devPort,
  hasGrpc,
  hostServices,
  own,
  ownServers,
  requireFreePort,
  serviceEnvironment,
  serviceNames,
  startInfrastructure,
  type HostedServices,
  type Infrastructure,
} from '#libs/devstack';
import { indexProjectDocuments } from '../knowledge/project-documents.js';
import { waitForReady } from './ready.js';
import { Stack, type HostRecord } from './stack.js';
import { requireAnswers, theirServers } from './their-servers.js';

const READY_MS = 30_000;

/** Everything that runs after `hostStack`; `infrastructure` may be ended apart from the services. */
export interface HostedStack {
  record: HostRecord;
  services: HostedServices;
  infrastructure: Infrastructure;
}

/**
 * Starts the servers and all services with this process as their host, waits until they are ready, indexes the project's
 * documents, and records the host. A service that does not become ready in time is reported to `notice`, not fatal: a model
 * that is away, for one, keeps its agent from being ready, and comes back.
 */
export async function hostStack(
  stack: Stack,
  withKafka: boolean,
  notice: (line: string) => void,
): Promise<HostedStack> {
  const { settings } = stack;
  const names = serviceNames(settings);
  for (const name of names) {
    await requireFreePort(devPort(name, settings.portOffset), name);
    if (hasGrpc(name)) await requireFreePort(devGrpcPort(name, settings.portOffset), `${name} (gRPC)`);
  }
  await requireAnswers(theirServers(settings, stack.env));
  if (stack.env['KAFKA_BROKERS'] && !settings.kafkaBrokers && !withKafka)
    notice(
      "KAFKA_BROKERS names this stack's own Kafka, which only ./baton up --kafka starts: it is left out.",
    );
  const servers = ownServers(settings, withKafka);
  const infrastructure = await startInfrastructure(stack.home, settings, servers, notice);
  let services: HostedServices | undefined;
  try {
    const addresses = { settings, secret: stack.secret, ...infrastructure };
    services = await hostServices({ names, env: (name) => serviceEnvironment(name, stack.env, addresses) });
    const listening = services.services.map(({ name, url }) => ({
      name: name as HostRecord['services'][number]['name'],
      url,
    }));
    await Promise.all(listening.map((service) => reportReadiness(service, notice)));
    const record: HostRecord = {
      ...own(process.pid),
      portOffset: settings.portOffset,
      services: listening,
      settings: stack.settingsDigest(),
      scripted: settings.model === null,
      ownServers: servers,
      kafkaBrokers: infrastructure.kafkaBrokers,
      schemaRegistryUrl: infrastructure.schemaRegistryUrl,
    };
    await indexProjectDocuments(stack, record).catch((error: unknown) =>
      notice(`The project's documents were not indexed: ${messageOf(error)}`),
    );
    stack.recordHost(record);
    return { record, services, infrastructure };
  } catch (error) {
    await services?.stop();
    await infrastructure.stop();
    throw error;
  }
}

async function reportReadiness(
  service: { name: string; url: string },
  notice: (line: string) => void,
): Promise<void> {
  const { ready, missing } = await waitForReady(service.url, READY_MS);
  if (!ready)
    for (const { name, cause, fix } of missing)
      notice(`${service.name} is not ready: ${name}: ${cause} (${fix})`);
}

/** The background process of `up --detach`: its standard output is the log. The servers outlive it until `down`. */
export async function hostDetached(withKafka: boolean): Promise<void> {
  const stack = new Stack();
  const starting = hostStack(stack, withKafka, (line) => process.stdout.write(`${line}\n`));
  stopOnSignal(async () => {
    const { services } = await starting;
    await services.stop();
    stack.forgetHost();
  });
  await starting;
}
