import type { BatonHome } from './home.js';
import { runningInfrastructure, type ServerName } from './infrastructure.js';
import { isListenedOn } from './ports.js';
import { devPort, type PortName, type StackSettings } from './settings.js';

/**
 * `settings` without addresses that are the stack's own: a shell may still name its Kafka from an earlier call, and then means no
 * other. Somebody else's server on such a port, e.g. Docker's, stays the person's.
 */
export function withoutOwnAddresses(settings: StackSettings, home: BatonHome): StackSettings {
  const running = runningInfrastructure(home);
  const foreign = (address: string | null, server: ServerName, name: PortName) => {
    const port = address === null ? null : loopbackPort(address);
    if (port === null) return address;
    const isOwn =
      running[server]?.port === port || (devPort(name, settings.portOffset) === port && !isListenedOn(port));
    return isOwn ? null : address;
  };
  return {
    ...settings,
    databaseUrl: foreign(settings.databaseUrl, 'postgres', 'postgres'),
    redisUrl: foreign(settings.redisUrl, 'redis', 'redis'),
    kafkaBrokers: foreign(settings.kafkaBrokers, 'kafka', 'kafka'),
    schemaRegistryUrl: foreign(settings.schemaRegistryUrl, 'schemaRegistry', 'schema-registry'),
  };
}

/** The port of a URL, or of a single `host:port`, on this machine; null for any other. */
function loopbackPort(address: string): number | null {
  const url = address.includes('://') ? address : `tcp://${address}`;
  if (!URL.canParse(url)) return null;
  const { hostname, port } = new URL(url);
  return ['127.0.0.1', 'localhost', '[::1]'].includes(hostname) && port ? Number(port) : null;
}
