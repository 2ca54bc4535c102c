import { TerminalError } from '#libs/contracts';

/** The agents behind the gateway: id → base URL. */
export type AgentUrls = Map<string, string>;

/**
 * Reads `agent-search=http://search:8080,agent-email=…`.
 * @throws TerminalError `configuration`
 */
export function parseAgents(text: string): AgentUrls {
  const agents: AgentUrls = new Map();
  for (const part of text.split(',').filter((item) => item.trim() !== '')) {
    const [id = '', url = ''] = part.trim().split(/=(.*)/s);
    if (!/^agent-[a-z][a-z0-9-]*$/.test(id) || !URL.canParse(url))
      throw new TerminalError('configuration', `AGENT_URLS: "${part}" is not agent-name=http://host:port`);
    agents.set(id, url.replace(/\/+$/, ''));
  }
  if (agents.size === 0) throw new TerminalError('configuration', 'AGENT_URLS names no agent');
  return agents;
}

/** Finds an agent by its id or its short name. @throws TerminalError `agent-not-found` (404) */
export function resolveAgent(agents: AgentUrls, name: string): { id: string; url: string } {
  for (const id of [name, `agent-${name}`]) {
    const url = agents.get(id);
    if (url) return { id, url };
  }
  throw new TerminalError(
    'agent-not-found',
    `There is no agent ${JSON.stringify(name.slice(0, 64))}; known: ${[...agents.keys()].map((id) => id.replace(/^agent-/, '')).join(', ')}`,
    {
      status: 404,
    },
  );
}
