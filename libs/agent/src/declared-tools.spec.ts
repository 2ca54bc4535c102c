import { DeclaredTools } from './declared-tools.js';

async function warnings(...lists: string[][]) {
  const warn = jest.fn();
  const list = jest.fn(async () => (lists.length > 1 ? lists.shift()! : lists[0]!).map((name) => ({ name })));
  const agent = { definition: { id: 'agent-x', tools: ['lookup', 'write'] } };
  const declared = new DeclaredTools(agent as never, { list } as never, { warn } as never);
  await declared.look([0, 1]);
  return warn.mock.calls as Array<[{ tools: string[]; fix: string }, string]>;
}

describe('the tools that an agent declares', () => {
  it('and is not offered are told at its start, with what to do', async () => {
    const [[told, event] = []] = await warnings(['lookup']);
    expect(told).toMatchObject({
      tools: ['write'],
      fix: expect.stringContaining('TOOL_ACL_EXTRA') as string,
    });
    expect(event).toBe('agent.tools.not-offered');
  });

  it('may come a little later', async () => {
    expect(await warnings([], ['write', 'lookup'])).toEqual([]);
  });
});
