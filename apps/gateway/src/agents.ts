import { grpcAddress } from '#libs/chassis';
import { messageOf, TerminalError } from '#libs/contracts';

/** The agents behind the gateway: id → URL of the gRPC door, e.g. `grpc://search:50051`, as `GrpcClient` takes it. */
export type AgentUrls = Map<string, string>;

/**
 * Reads `agent-search=grpc://search:50051,agent-email=…`. An agent that is named more than once has several addresses.
 * @throws TerminalError `configuration`
 */
export function parseAgents(text: string): AgentUrls {
  const agents = new Map<string, string[]>();
  for (const part of text.split(',').filter((item) => item.trim() !== '')) {
    const [id = '', url = ''] = part.trim().split(/=(.*)/s);
    if (!/^agent-[a-z][a-z0-9-]*$/.test(id))
      throw new TerminalError(
        'configuration',
        `AGENT_GRPC_URLS: "${part}" is not agent-name=grpc://host:port`,
      );
    try {
      grpcAddress(url);
    } catch (error) {
      throw new TerminalError('configuration', `AGENT_GRPC_URLS: ${messageOf(error)}`);
    }
    agents.set(id, [...(agents.get(id) ?? []), url]);
  }
  if (agents.size === 0) throw new TerminalError('configuration', 'AGENT_GRPC_URLS names no agent');
  return new Map([...agents].map(([id, urls]) => [id, urls.length === 1 ? urls[0]! : joined(id, urls)]));
}

/** gRPC's own way to write several addresses (`ipv4:`, doc/naming.md of gRPC), which knows no names. */
function joined(id: string, urls: string[]): string {
  const parts = urls.map((url) => /^(grpcs?):\/\/((?:\d{1,3}\.){3}\d{1,3}:\d+)\/?$/.exec(url));
  const schemes = new Set(parts.map((part) => part?.[1]));
  if (schemes.size > 1 || schemes.has(undefined))
    throw new TerminalError(
      'configuration',
      `AGENT_GRPC_URLS: several addresses of ${id} have to be IPv4 addresses, all grpc:// or all grpcs://; else use a name that stands for all`,
    );
  return `${[...schemes][0]}://ipv4:${parts.map((part) => part![2]).join(',')}`;
}

/** Finds an agent by its id or its short name. @throws TerminalError `agent-not-found` (404) */
export function resolveAgent(ids: Iterable<string>, name: string): string {
  const known = [...ids];
  const id = known.find((one) => one === name || one === `agent-${name}`);
  if (id) return id;
  const names = known.map((one) => one.replace(/^agent-/, '')).join(', ');
  throw new TerminalError(
    'agent-not-found',
    `There is no agent ${JSON.stringify(name.slice(0, 64))}; known: ${names}`,
    { status: 404 },
  );
}
