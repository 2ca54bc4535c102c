import { defineTool, definitionOf, type ToolSpec } from './tool.js';

const spec: ToolSpec = {
  name: 'web_search',
  version: '2.1.0',
  description: 'Search the web',
  effect: 'read',
  parameters: { type: 'object' },
  returns: { type: 'array' },
  handler: () => [],
};

describe('defineTool', () => {
  it('fills in the defaults', () => {
    expect(defineTool(spec)).toMatchObject({ idempotent: false, rateLimit: 60, timeoutMs: 10_000 });
  });

  it.each<[string, Partial<ToolSpec>]>([
    ['name', { name: 'Web-Search' }],
    ['name', { name: 'x' }],
    ['name', { name: 'a'.repeat(65) }],
    ['version', { version: '2.1' }],
    ['version', { version: '01.0.0' }],
    ['description', { description: ' ' }],
    ['effect', { effect: 'delete' as never }],
    ['parameters', { parameters: { type: 'string' } }],
    ['returns', { returns: [] as never }],
    ['rateLimit', { rateLimit: 0 }],
    ['timeoutMs', { timeoutMs: 120_001 }],
    ['timeoutMs', { timeoutMs: 1.5 }],
    ['handler', { handler: undefined as never }],
  ])('refuses a wrong %s: %j', (field, wrong) => {
    expect(() => defineTool({ ...spec, ...wrong })).toThrow(new RegExp(`: ${field} must`));
  });

  it('names everything wrong at once', () => {
    expect(() => defineTool({ ...spec, version: 'x', rateLimit: -1 })).toThrow(/version.*rateLimit/);
  });
});

describe('definitionOf', () => {
  it('says where the service serves the tool', () => {
    expect(definitionOf(defineTool(spec), 'http://tools:8080/')).toMatchObject({
      endpoint: 'http://tools:8080/tools/web_search/invoke',
      health_url: 'http://tools:8080/health',
      timeout_ms: 10_000,
      auth_type: 'service',
    });
  });
});
