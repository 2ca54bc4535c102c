import { grpcAddress } from '#libs/chassis';
import { messageOf, TerminalError } from '#libs/contracts';

/** The agents behind the gateway: id → address of the gRPC door, e.g. `grpc://search:50051`. */
export type AgentUrls = Map<string, string>;

/**
 * Reads `agent-search=grpc://search:50051,agent-email=…`.
 * @throws TerminalError `configuration`
 */
export function parseAgents(text: string): AgentUrls {
  const agents: AgentUrls = new Map();
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
    agents.set(id, url);
  }
  if (agents.size === 0) throw new TerminalError('configuration', 'AGENT_GRPC_URLS names no agent');
  return agents;
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
