import type { Principal, TokenVerifier } from '#libs/auth';
import type { Database } from '#libs/database';
import type { InboxRepository, IncomingMessage } from '#libs/messaging';
import { createResultsDoor, type ResultHandler } from './results.door.js';

const AGENT: Principal = {
  caller: 'agent-search',
  actors: [],
  tenant: 'system',
  userId: null,
  scopes: [],
  token: 'jwt',
};
const RESULT = {
  id: '1',
  kind: 'AgentResultEvent',
  headers: { authorization: 'Bearer jwt' },
  body: { source_agent: 'agent-search' },
} as unknown as IncomingMessage;

/** What of a result reaches the service when its token says this. */
async function handled(sender: Principal): Promise<string[]> {
  const seen: string[] = [];
  const Door = createResultsDoor('orchestrator', 'handler') as new (
    verifier: Pick<TokenVerifier, 'verify'>,
    database: unknown,
    inbox: Pick<InboxRepository, 'record'>,
    handler: Pick<ResultHandler, 'onResult'>,
  ) => { handle(message: IncomingMessage): Promise<void> };
  const door = new Door(
    { verify: async () => sender },
    { transaction: (work: (query: unknown) => unknown) => work(null) } as unknown as Database,
    { record: async () => true },
    { onResult: async (_, tenant) => void seen.push(tenant) },
  );
  await door.handle(RESULT);
  return seen;
}

describe('a result', () => {
  it.each<[string, Principal]>([
    ['the agent itself', AGENT],
    [
      'the agent for a person',
      { ...AGENT, actors: ['agent-search', 'orchestrator'], tenant: 'acme', userId: 'ada' },
    ],
  ])('is taken from %s', async (_, sender) => {
    expect(await handled(sender)).toEqual([sender.tenant]);
  });

  it.each<[string, Principal]>([
    ['another agent', { ...AGENT, caller: 'agent-email' }],
    ["a person who has the agent's name", { ...AGENT, tenant: 'acme', userId: 'agent-search' }],
    ['a tenant', { ...AGENT, caller: 'tenant:acme', tenant: 'acme' }],
  ])('is not taken from %s', async (_, sender) => {
    await expect(handled(sender)).rejects.toMatchObject({ code: 'forbidden', status: 403 });
  });
});
