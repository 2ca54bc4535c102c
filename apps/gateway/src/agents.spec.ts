import { parseAgents, resolveAgent } from './agents.js';

describe('agents behind the gateway', () => {
  it('reads ids and addresses', () => {
    const agents = parseAgents('agent-search=grpc://a:50051, agent-code=grpcs://b:50051/');
    expect([...agents]).toEqual([
      ['agent-search', 'grpc://a:50051'],
      ['agent-code', 'grpcs://b:50051/'],
    ]);
  });

  it.each([
    '',
    'search=grpc://a:1',
    'agent-search',
    'agent-search=nowhere',
    'agent-search=http://a:8080',
    'agent-search=grpc://a',
  ])('refuses %j', (text) => {
    expect(() => parseAgents(text)).toThrow(/AGENT_GRPC_URLS/);
  });

  it('finds an agent by id and by short name, and nothing else', () => {
    const ids = ['agent-search'];
    expect(resolveAgent(ids, 'search')).toBe('agent-search');
    expect(resolveAgent(ids, 'agent-search')).toBe('agent-search');
    expect(() => resolveAgent(ids, 'email')).toThrow(/no agent "email"/);
  });
});
