import { parseAgents, resolveAgent } from './agents.js';

describe('agents behind the gateway', () => {
  it('reads ids and addresses', () => {
    const agents = parseAgents('agent-search=grpc://a:50051, agent-code=grpcs://b:50051/');
    expect([...agents]).toEqual([
      ['agent-search', 'grpc://a:50051'],
      ['agent-code', 'grpcs://b:50051/'],
    ]);
  });

  it('reads several addresses of one agent', () => {
    const agents = parseAgents('agent-a=grpc://10.0.0.1:1,agent-b=grpc://b:2,agent-a=grpc://10.0.0.2:3/');
    expect([...agents]).toEqual([
      ['agent-a', 'grpc://ipv4:10.0.0.1:1,10.0.0.2:3'],
      ['agent-b', 'grpc://b:2'],
    ]);
  });

  it.each([
    '',
    'agent-a=grpc://10.0.0.1:1,agent-a=grpc://name:1',
    'agent-a=grpc://10.0.0.1:1,agent-a=grpcs://10.0.0.2:1',
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
