import type { Principal, TokenVerifier } from '#libs/auth';
import type { Agent } from '../agent.js';
import { Senders } from './senders.js';

const AGENT = {
  definition: { id: 'agent-search' },
  config: { ALLOWED_CALLERS: 'orchestrator, tenant:*,user:*' },
} as unknown as Agent;
const SERVICE: Principal = {
  caller: 'orchestrator',
  actors: ['orchestrator'],
  tenant: 'acme',
  userId: 'ada',
  scopes: ['tasks:write'],
  token: 'jwt',
};

/** Whether a message whose token says this is let in. */
async function admit(principal: Principal): Promise<Principal> {
  const verifier = { verify: async () => principal } as unknown as TokenVerifier;
  const senders = new Senders(AGENT, verifier);
  const sender = await senders.identify({ headers: {}, appendedAt: new Date() });
  senders.authorize(sender);
  return sender;
}

describe('a message', () => {
  it.each<[string, Principal]>([
    ['for a person', SERVICE],
    ['for itself', { ...SERVICE, actors: [], userId: null, tenant: 'system' }],
  ])('comes from a service %s', async (_, principal) => {
    expect(await admit(principal)).toBe(principal);
  });

  it.each<[string, Principal]>([
    ['a person', { ...SERVICE, caller: 'ada', actors: [] }],
    ['a person who has the name of a service', { ...SERVICE, actors: [], userId: 'orchestrator' }],
    ['a tenant', { ...SERVICE, caller: 'tenant:acme', actors: [], userId: null }],
    ['a service that is not listed', { ...SERVICE, caller: 'agent-email', actors: ['agent-email'] }],
    ['a service without the scope', { ...SERVICE, scopes: ['tasks:read'] }],
  ])('does not come from %s', async (_, principal) => {
    await expect(admit(principal)).rejects.toMatchObject({ code: 'forbidden', status: 403 });
  });
});
