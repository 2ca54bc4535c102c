import type { ListedTool, ToolHealth } from '#libs/contracts';
import { toolRows } from './tool-rows.js';

const tool = (name: string, service: string, health: Partial<ToolHealth>) =>
  ({
    name,
    service,
    health_url: `http://${service}/health`,
    health: { state: 'up', cause: null, checked_at: null, ...health },
  }) as ListedTool;
const down: Partial<ToolHealth> = { state: 'down', cause: 'its health_url does not answer' };

describe('toolRows', () => {
  it('has one line per tool service that is not hosted here', () => {
    const tools = [tool('a', 'tools-far', down), tool('b', 'tools-far', down), tool('c', 'tools-near', {})];
    expect(toolRows(tools, [])).toEqual([
      {
        name: 'tools-far',
        address: 'tools-far',
        state: 'down',
        cause: 'for the registry (a, b): its health_url does not answer',
        fix: 'start it, so that http://tools-far/health answers',
      },
      { name: 'tools-near', state: 'up', address: 'tools-near', cause: '', fix: '' },
    ]);
  });

  it('is silent about a hosted one, unless the registry cannot reach it', () => {
    expect(toolRows([tool('a', 'tools-knowledge', {})], ['tools-knowledge'])).toEqual([]);
    expect(toolRows([tool('a', 'tools-knowledge', down)], ['tools-knowledge'])).toMatchObject([
      { state: 'down', fix: './baton down && ./baton up' },
    ]);
  });

  it('says of one that was not asked yet that it is not ready', () => {
    expect(toolRows([tool('a', 'tools-new', { state: 'unknown' })], [])).toMatchObject([
      { state: 'not ready', cause: expect.stringContaining('not asked yet') },
    ]);
  });
});
