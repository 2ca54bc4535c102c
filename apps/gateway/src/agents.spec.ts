import { parseAgents, resolveAgent } from './agents.js';

describe('agents behind the gateway', () => {
  it('reads ids and base URLs', () => {
    const agents = parseAgents('agent-search=http://a:8080/, agent-code=http://b:8080');
    expect([...agents]).toEqual([
      ['agent-search', 'http://a:8080'],
      ['agent-code', 'http://b:8080'],
    ]);
  });

  it.each(['', 'search=http://a', 'agent-search', 'agent-search=nowhere'])('refuses %j', (text) => {
    expect(() => parseAgents(text)).toThrow(/AGENT_URLS/);
  });

  it('finds an agent by id and by short name, and nothing else', () => {
    const agents = parseAgents('agent-search=http://a:8080');
    expect(resolveAgent(agents, 'search').id).toBe('agent-search');
    expect(resolveAgent(agents, 'agent-search').url).toBe('http://a:8080');
    expect(() => resolveAgent(agents, 'email')).toThrow(/no agent "email"/);
  });
});
