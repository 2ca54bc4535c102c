import type { AgentCard } from '#libs/contracts';
import { freePort, type SpawnedService } from '#libs/devstack';
import { answer, eventually, TestStack } from '#libs/testing';

jest.setTimeout(120_000);

interface Readiness {
  status: string;
  details: Record<string, { status: string; cause?: string; fix?: string }>;
}

let stack: TestStack;
let search: SpawnedService;
let knowledge: SpawnedService;
let gateway: SpawnedService;
beforeAll(async () => {
  stack = await TestStack.start();
  [knowledge, search] = await Promise.all([
    stack.spawn('tools/knowledge', { TOOL_REGISTRY_URL: stack.registry.url }),
    stack.spawnAgent({}, { agent: 'agent-search' }),
  ]);
  gateway = await stack.spawnGateway({
    'agent-search': search.grpcUrl,
    'agent-test': `grpc://127.0.0.1:${await freePort()}`,
  });
});
afterAll(() => stack?.stop());

const ready = async ({ url }: SpawnedService) => {
  const response = await fetch(`${url}/ready`);
  return { status: response.status, body: (await response.json()) as Readiness };
};
const everyService = () => [stack.llm, stack.registry, knowledge, search, gateway];

describe('every service', () => {
  it('is alive and ready, and needs no token to say so', async () => {
    for (const service of everyService()) {
      expect((await fetch(`${service.url}/health`)).status).toBe(200);
      expect(await ready(service)).toMatchObject({ status: 200, body: { status: 'ok' } });
    }
  });

  it('describes itself at /docs-json', async () => {
    for (const service of everyService()) {
      const response = await fetch(`${service.url}/docs-json`);
      expect(response.status).toBe(200);
      const document = (await response.json()) as { openapi: string; paths: object };
      expect(document.openapi).toMatch(/^3\./);
      expect(Object.keys(document.paths).length).toBeGreaterThan(1);
      expect((await fetch(`${service.url}/docs`)).status).toBe(200);
    }
  });

  it('has metrics in the text format of Prometheus', async () => {
    for (const service of everyService()) {
      const response = await fetch(`${service.url}/metrics`);
      expect(response.status).toBe(200);
      expect(await response.text()).toMatch(/^# TYPE process_cpu_user_seconds_total counter$/m);
    }
  });
});

describe('an agent', () => {
  it('counts its tasks, tokens, tools and steps', async () => {
    const prompt = await stack.scenario({ name: 'counted', steps: [answer('done')] });
    await stack.api(search).run({ prompt });
    const metrics = await (await fetch(`${search.url}/metrics`)).text();
    for (const line of [
      /^agent_tasks_total\{agent_id="agent-search",status="completed"\} [1-9]/m,
      /^agent_llm_tokens_total\{agent_id="agent-search",token_type="prompt"\} [1-9]/m,
      /^agent_steps_per_task_count\{agent_id="agent-search"\} [1-9]/m,
      /^agent_task_duration_seconds_count\{agent_id="agent-search"\} [1-9]/m,
    ])
      expect(metrics).toMatch(line);
    expect(metrics).not.toContain('counted');
  });

  it('documents its task API', async () => {
    const document = (await (await fetch(`${search.url}/docs-json`)).json()) as {
      paths: Record<string, object>;
    };
    for (const path of [
      '/run',
      '/tasks',
      '/tasks/{task_id}',
      '/tasks/{task_id}/events',
      '/tasks/{task_id}/cancel',
    ])
      expect(document.paths).toHaveProperty([path]);
  });

  it('writes no prompt, no output and no token into its log', async () => {
    const prompt = await stack.scenario({ name: 'canary-question', steps: [answer('canary-answer')] });
    const view = await stack.api(search).run({ prompt });
    expect(view.body.output).toBe('canary-answer');
    await eventually(() => search.output().includes(view.body.task_id));
    expect(search.output()).not.toMatch(/canary-|Bearer|eyJ/);
  });

  it('without its dependencies is alive, not ready, and names each with cause and fix', async () => {
    const nowhere = `127.0.0.1:${await freePort()}`;
    const lonely = await stack.spawnAgent(
      {
        DATABASE_URL: `postgres://x:x@${nowhere}/x`,
        REDIS_URL: `redis://${nowhere}`,
        TOOL_REGISTRY_URL: `http://${nowhere}`,
        OPENAI_BASE_URL: `http://${nowhere}/v1`,
      },
      { until: 'health' },
    );
    const { status, body } = await ready(lonely);
    expect(status).toBe(503);
    for (const name of ['postgres', 'redis', 'tool-registry', 'model'])
      expect(body.details[name]).toEqual({
        status: 'down',
        cause: expect.stringMatching(/./),
        fix: expect.stringMatching(/./),
      });
    expect(await stack.api(lonely).submit({ prompt: 'x' })).toMatchObject({
      status: 503,
      body: { code: 'database-unavailable' },
    });
    expect((await fetch(`${lonely.url}/health`)).status).toBe(200);
    expect(lonely.output()).not.toContain('x:x@');
    // SIGTERM is enough, whatever is away.
    lonely.kill('SIGTERM');
    expect([0, 1]).toContain(await lonely.exited);
  });

  it('that cannot be configured ends and names everything that is wrong', async () => {
    const start = stack.spawnAgent({
      LEASE_MS: '1',
      MAX_BACKLOG: 'many',
      BATON_CLIENT_SECRET: 'short',
      TOOL_REGISTRY_URL: 'x',
    });
    const failure = String(await start.catch((error: unknown) => error));
    for (const name of ['LEASE_MS', 'MAX_BACKLOG', 'BATON_CLIENT_SECRET', 'TOOL_REGISTRY_URL'])
      expect(failure).toContain(name);
    expect(failure).toContain('ended with 1');
  });
});

describe('the gateway', () => {
  const list = async (token: string) => {
    const response = await fetch(`${gateway.url}/v1/agents`, {
      headers: { authorization: `Bearer ${token}` },
    });
    return ((await response.json()) as { agents: Array<AgentCard & { ready: boolean; cause?: string }> })
      .agents;
  };

  it('lists its agents, and says of one that does not answer why', async () => {
    const agents = await list(stack.token());
    expect(agents).toEqual([
      expect.objectContaining({
        ready: true,
        id: 'agent-search',
        name: 'search',
        tools: ['web_search', 'vector_search', 'knowledge_base'],
        limits: { max_steps: 10, token_budget: 8192 },
        scripted: true,
      }),
      { ready: false, id: 'agent-test', cause: expect.stringContaining('unreachable') },
    ]);
  });

  it('answers 503 for an agent that is away, and keeps serving the others', async () => {
    expect(await stack.apiThrough(gateway, 'agent-test').submit({ prompt: 'x' })).toMatchObject({
      status: 503,
      body: { code: 'unreachable' },
    });
    const prompt = await stack.scenario({ name: 'others', steps: [answer('here')] });
    expect(await stack.apiThrough(gateway, 'agent-search').run({ prompt })).toMatchObject({ status: 200 });
  });

  it('knows agents by their short names, too', async () => {
    const prompt = await stack.scenario({ name: 'short', steps: [answer('found')] });
    const response = await fetch(`${gateway.url}/v1/agents/search/run`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stack.token()}`, 'content-type': 'application/json' },
      body: JSON.stringify({ prompt }),
    });
    expect(await response.json()).toMatchObject({ output: 'found', agent_id: 'agent-search' });
  });
});

it("agent-search answers from what was indexed, with its source, and knows of no other tenant's", async () => {
  const authorization = `Bearer ${stack.token()}`;
  const indexed = await fetch(`${knowledge.url}/documents`, {
    method: 'PUT',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({
      path: 'lighthouse.md',
      text: '# The lighthouse of Marrowby\n\nThe lighthouse of Marrowby was lit by whale oil until 1871.\n',
    }),
  });
  expect(await indexed.json()).toMatchObject({ changed: true });
  const question = 'Until when was the lighthouse of Marrowby lit by whale oil? Cite the documents.';
  const { body } = await stack.apiThrough(gateway, 'agent-search').run({ prompt: question });
  expect(body).toMatchObject({ status: 'completed', error: null });
  expect(body.output).toContain('1871');
  expect(body.output).toContain('lighthouse.md');
  expect(body.tool_calls).toBeGreaterThan(0);
  const stranger = await stack
    .apiThrough(gateway, 'agent-search', { tenant: 'other' })
    .run({ prompt: question });
  expect(stranger.body.status).toBe('completed');
  expect(stranger.body.output).not.toContain('1871');
});
