import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from 'pg';
import { startService, type RunningService } from '#libs/chassis';
import type { ToolOutcome } from '#libs/contracts';
import { TestIssuer } from '#libs/testing';
import type { FoundPassage } from './passage-search.js';
import service from './service.js';

const DATABASE_URL = process.env['TEST_DATABASE_URL'];

/** Each test has tenants of its own; the schema is shared. */
const newTenant = () => `tenant-${randomUUID()}`;

describe('tools-knowledge', () => {
  let running: RunningService;
  let registry: Server;
  let issuer: TestIssuer;
  const registered: string[] = [];

  const environment = (more: Record<string, string> = {}) => ({
    PORT: '0',
    HOST: '127.0.0.1',
    LOG_LEVEL: 'silent',
    DATABASE_URL,
    ...issuer.env(),
    TOOL_REGISTRY_URL: `http://127.0.0.1:${(registry.address() as AddressInfo).port}`,
    ...more,
  });

  beforeAll(async () => {
    if (!DATABASE_URL) throw new Error('TEST_DATABASE_URL is missing: give a Postgres for tests');
    registry = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        registered.push((JSON.parse(Buffer.concat(chunks).toString()) as { name: string }).name);
        response.writeHead(201, { 'content-type': 'application/json' }).end('{}');
      });
    }).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    issuer = await TestIssuer.start();
    running = await startService(service, environment());
  }, 30_000);

  afterAll(async () => {
    await running?.stop();
    issuer?.stop();
    registry?.close();
    registry?.closeAllConnections();
  });

  async function call(
    method: string,
    path: string,
    on: { caller?: string; tenant: string; at?: string },
    body?: unknown,
  ) {
    const { caller = 'cli', tenant, at = running.url } = on;
    const response = await fetch(at + path, {
      method,
      headers: {
        authorization: `Bearer ${issuer.signer.sign({ sub: `tenant:${tenant}`, tenant, act: { sub: caller }, aud: 'tools-knowledge', scope: 'tasks:read tasks:write' })}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, body: (text ? JSON.parse(text) : null) as Record<string, unknown> };
  }

  const put = (tenant: string, document: object) => call('PUT', '/documents', { tenant }, document);

  async function invoke(tenant: string, tool: string, params: object, at?: string): Promise<ToolOutcome> {
    const version = tool === 'web_search' ? '2.1.0' : '1.0.0';
    const on = { tenant, caller: 'tool-registry', at };
    const { status, body } = await call('POST', `/tools/${tool}/invoke`, on, { tool, version, params });
    expect(status).toBe(200);
    return body as unknown as ToolOutcome;
  }

  async function find(tenant: string, tool: string, query: string, at?: string): Promise<FoundPassage[]> {
    const outcome = await invoke(tenant, tool, { query }, at);
    if (!outcome.ok) throw new Error(`${outcome.code}: ${outcome.message}`);
    return outcome.result as FoundPassage[];
  }

  const GUIDE = [
    '# Guide',
    '## Leases\nA worker that dies loses its lease; another worker claims it and replays the journal.',
    '## Cooking\nPotatoes are boiled in salted water for twenty minutes.',
    '## Queues\nRedis may be emptied at any time: the relay fills the queue of every worker again.',
  ].join('\n\n');

  it('registers its three tools', async () => {
    while (registered.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(registered.slice(0, 3).sort()).toEqual(['knowledge_base', 'vector_search', 'web_search']);
    expect((await fetch(`${running.url}/ready`)).status).toBe(200);
  });

  describe.each(['knowledge_base', 'vector_search'])('%s', (tool) => {
    it('finds the passage that answers a question', async () => {
      const tenant = newTenant();
      expect((await put(tenant, { path: 'guide.md', text: GUIDE })).body).toEqual({
        changed: true,
        passages: 3,
        embedded: true,
      });
      const [best] = await find(tenant, tool, 'What happens to the lease when a worker dies?');
      expect(best).toMatchObject({ title: 'Guide', path: 'guide.md', heading: 'Guide › Leases' });
      expect(best!.text).toContain('replays the journal');
      expect(best!.score).toBeGreaterThan(0);
    });

    it('answers best first, at most as many as asked for', async () => {
      const tenant = newTenant();
      const sections = Array.from(
        { length: 40 },
        (_, i) => `## Part ${i}\nThe journal of a worker, ${'again and '.repeat(i)}again.`,
      );
      await put(tenant, { path: 'many.md', text: sections.join('\n\n') });
      const outcome = await invoke(tenant, tool, { query: 'journal worker', num_results: 20 });
      const scores = (outcome.ok ? (outcome.result as FoundPassage[]) : []).map(({ score }) => score);
      expect(scores).toHaveLength(20);
      expect(scores).toEqual([...scores].sort((a, b) => b - a));
      expect(await find(tenant, tool, 'journal worker')).toHaveLength(5);
    });

    it('keeps tenants apart and shares what is shared', async () => {
      const [mine, other] = [newTenant(), newTenant()];
      const word = `zq${randomUUID().slice(0, 8)}`;
      await put(mine, { path: 'private.md', text: `The ${word} is mine.` });
      await put(mine, { path: `shared-${word}.md`, text: `The ${word} is for everybody.`, shared: true });
      const paths = async (tenant: string) =>
        (await find(tenant, tool, word))
          .map(({ path }) => path)
          .filter((path) => path === 'private.md' || path.includes(word));
      expect((await paths(mine)).sort()).toEqual(['private.md', `shared-${word}.md`]);
      expect(await paths(other)).toEqual([`shared-${word}.md`]);
      await call('DELETE', `/documents?path=shared-${word}.md&shared=true`, { tenant: mine });
      expect(await paths(other)).toEqual([]);
    });

    it('sees an update and a deletion at once', async () => {
      const tenant = newTenant();
      const word = `zq${randomUUID().slice(0, 8)}`;
      const texts = async () =>
        (await find(tenant, tool, word)).map(({ text }) => text).filter((text) => text.includes(word));
      await put(tenant, { path: 'a.md', text: `First ${word}.` });
      expect(await texts()).toEqual([`First ${word}.`]);
      await put(tenant, { path: 'a.md', text: `Second ${word}.` });
      expect(await texts()).toEqual([`Second ${word}.`]);
      await call('DELETE', '/documents?path=a.md', { tenant });
      expect(await texts()).toEqual([]);
    });

    it.each([
      ['a statement', `'; drop table knowledge.documents; --`],
      ['query operators', '((&|!:*<->'],
      ['an open quote', '"unclosed'],
      ['a lone minus', '-'],
      ['patterns', '%_\\'],
      ['half a surrogate pair', '\ud800'],
      ['stop words', 'the and of'],
      ['a word of 5,000 letters', 'x'.repeat(5000)],
    ])('takes %s as words', async (_, query) => {
      const tenant = newTenant();
      await put(tenant, { path: 'guide.md', text: GUIDE });
      expect((await invoke(tenant, tool, { query })).ok).toBe(true);
      expect(await find(tenant, tool, 'boiled potatoes')).not.toEqual([]);
    });
  });

  it('ranks one rare word above two frequent ones', async () => {
    const tenant = newTenant();
    const frequent = Array.from({ length: 30 }, (_, i) => `## Worker ${i}\nThe worker reads its journal.`);
    const rare = '## Fencing\nThe epoch fences a superseded process.';
    await put(tenant, { path: 'docs.md', text: [...frequent, rare].join('\n\n') });
    const [best] = await find(tenant, 'knowledge_base', 'Which worker writes its journal with the epoch?');
    expect(best!.heading).toBe('Fencing');
  });

  it('leaves out passages with excluded words', async () => {
    const tenant = newTenant();
    await put(tenant, { path: 'guide.md', text: GUIDE });
    const found = await find(tenant, 'knowledge_base', 'worker nosuchword -redis');
    expect(found.map(({ heading }) => heading)).toEqual(['Guide › Leases']);
  });

  it('says that web search is not configured', async () => {
    expect(await invoke(newTenant(), 'web_search', { query: 'news' })).toMatchObject({
      ok: false,
      code: 'not_configured',
    });
  });

  it('indexes an unchanged document once', async () => {
    const tenant = newTenant();
    await put(tenant, { path: 'guide.md', text: GUIDE });
    expect((await put(tenant, { path: 'guide.md', text: GUIDE })).body).toEqual({ changed: false });
    expect((await put(tenant, { path: 'guide.md', text: GUIDE, title: 'Other' })).body).toMatchObject({
      changed: true,
    });
    expect((await call('GET', '/documents', { tenant })).body).toMatchObject({
      documents: expect.arrayContaining([
        expect.objectContaining({ path: 'guide.md', title: 'Other', shared: false, passages: 3 }),
      ]),
    });
  });

  it('lists documents page by page', async () => {
    const tenant = newTenant();
    const paths = ['a.md', 'b/c.md', 'b/d.md', 'é.md', 'z.txt'];
    for (const path of paths) await put(tenant, { path, text: path });
    const listed: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const from: string = cursor && `&cursor=${cursor}`;
      const { body } = await call('GET', `/documents?limit=2${from}`, { tenant });
      const page = body as {
        documents: Array<{ path: string; shared: boolean }>;
        next_cursor: string | null;
      };
      expect(page.documents.length).toBeLessThanOrEqual(2);
      listed.push(...page.documents.filter(({ shared }) => !shared).map(({ path }) => path));
      cursor = page.next_cursor;
    }
    expect(listed.sort()).toEqual([...paths].sort());
  });

  it('takes simultaneous changes of one document one after the other', async () => {
    const tenant = newTenant();
    const versions = Array.from({ length: 8 }, (_, i) => `Same words, version${i}.`);
    const answers = await Promise.all(versions.map((text) => put(tenant, { path: 'a.md', text })));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    const found = (await find(tenant, 'knowledge_base', 'same words')).filter(({ path }) => path === 'a.md');
    expect(found).toHaveLength(1);
    expect(versions).toContain(found[0]!.text);
  });

  it.each([
    ['a document above 1 MiB', { path: 'a.md', text: 'é'.repeat(524_289) }, 413, 'payload-too-large'],
    [
      'a document of too many sections',
      { path: 'a.md', text: '# a\nb\n'.repeat(5001) },
      413,
      'payload-too-large',
    ],
    ['no path', { text: 'a' }, 400, 'validation'],
    ['a path of two lines', { path: 'a\nb', text: 'a' }, 400, 'validation'],
    ['a text that is none', { path: 'a.md', text: 5 }, 400, 'validation'],
    ['an unknown field', { path: 'a.md', text: 'a', tenant: 'b' }, 400, 'validation'],
    ['a NUL character', { path: 'a.md', text: 'a\0b' }, 400, 'malformed-request'],
  ])('refuses %s', async (_, document, status, code) => {
    expect(await put(newTenant(), document)).toMatchObject({ status, body: { code } });
  });

  it('takes a document of 1 MiB whose characters are escaped in JSON', async () => {
    const tenant = newTenant();
    const text = '"quoted" \\ \n'.repeat(80_000).slice(0, 1_048_576);
    expect(await put(tenant, { path: 'a.txt', text })).toMatchObject({
      status: 200,
      body: { changed: true },
    });
  }, 30_000);

  it('refuses bad queries of the list', async () => {
    const tenant = newTenant();
    for (const query of ['limit=0', 'limit=201', 'limit=x', 'cursor=e30', 'cursor=%00', 'what=1'])
      expect((await call('GET', `/documents?${query}`, { tenant })).status).toBe(400);
    expect((await call('DELETE', '/documents', { tenant })).status).toBe(400);
    expect((await call('DELETE', '/documents?path=none.md', { tenant })).status).toBe(404);
  });

  it('admits each caller to its own routes only', async () => {
    const tenant = newTenant();
    const document = { path: 'a.md', text: 'a' };
    const tool = { tool: 'knowledge_base', version: '1.0.0', params: { query: 'a' } };
    expect((await call('PUT', '/documents', { tenant, caller: 'gateway' }, document)).status).toBe(200);
    expect(
      (await call('PUT', '/documents', { tenant, caller: 'gateway' }, { ...document, shared: true })).status,
    ).toBe(403);
    expect((await call('PUT', '/documents', { tenant: '*', caller: 'gateway' }, document)).status).toBe(403);
    expect((await call('PUT', '/documents', { tenant, caller: 'tool-registry' }, document)).status).toBe(403);
    expect(
      (await call('POST', '/tools/knowledge_base/invoke', { tenant, caller: 'agent-search' }, tool)).status,
    ).toBe(403);
    expect((await call('POST', '/tools/knowledge_base/invoke', { tenant, caller: 'cli' }, tool)).status).toBe(
      403,
    );
    expect((await fetch(`${running.url}/documents`)).status).toBe(401);
  });

  it('bounds the passages of a tenant', async () => {
    const small = await startService(service, environment({ KNOWLEDGE_TENANT_PASSAGES: '4' }));
    try {
      const tenant = newTenant();
      const at = small.url;
      expect((await call('PUT', '/documents', { tenant, at }, { path: 'a.md', text: GUIDE })).status).toBe(
        200,
      );
      const full = await call('PUT', '/documents', { tenant, at }, { path: 'b.md', text: GUIDE });
      expect(full).toMatchObject({ status: 409, body: { code: 'knowledge-full' } });
      expect((await find(tenant, 'knowledge_base', 'lease', at)).map(({ path }) => path)).not.toContain(
        'b.md',
      );
      await call('DELETE', '/documents?path=a.md', { tenant, at });
      expect((await call('PUT', '/documents', { tenant, at }, { path: 'b.md', text: GUIDE })).status).toBe(
        200,
      );
    } finally {
      await small.stop();
    }
  }, 20_000);

  it('lets one instance see what another one changed', async () => {
    const second = await startService(service, environment());
    try {
      const tenant = newTenant();
      const paths = async () =>
        (await find(tenant, 'vector_search', 'zebra stripes', second.url)).map(({ path }) => path);
      await put(tenant, { path: 'a.md', text: 'zebra stripes' });
      expect(await paths()).toContain('a.md');
      await put(tenant, { path: 'b.md', text: 'stripes of a zebra' });
      expect(await paths()).toEqual(expect.arrayContaining(['a.md', 'b.md']));
    } finally {
      await second.stop();
    }
  }, 20_000);

  it('indexes while the embeddings API is away, and embeds what misses a vector at the next start', async () => {
    const tenant = newTenant();
    const away = await startService(
      service,
      environment({
        BATON_EMBEDDING_MODEL: `model-${randomUUID()}`,
        OPENAI_BASE_URL: 'http://127.0.0.1:9/v1',
      }),
    );
    try {
      const on = { tenant, at: away.url };
      const document = { path: 'a.md', text: 'zebra stripes' };
      expect((await call('PUT', '/documents', on, document)).body).toEqual({
        changed: true,
        passages: 1,
        embedded: false,
      });
      expect((await find(tenant, 'knowledge_base', 'zebra', away.url)).map(({ path }) => path)).toContain(
        'a.md',
      );
      const failed = await invoke(tenant, 'vector_search', { query: 'zebra' }, away.url);
      expect(failed).toMatchObject({
        ok: false,
        code: 'model_unavailable',
        message: expect.stringContaining('knowledge_base'),
      });
    } finally {
      await away.stop();
    }
    const restarted = await startService(service, environment());
    const database = new Client(DATABASE_URL);
    try {
      await database.connect();
      const missing = async () =>
        (
          await database.query(
            `select from knowledge.passages p left join knowledge.vectors v on v.passage_id = p.id and v.embedder like 'feature-hash%'
             where p.tenant = $1 and v.vector is null`,
            [tenant],
          )
        ).rowCount;
      while ((await missing()) !== 0) await new Promise((resolve) => setTimeout(resolve, 50));
      expect((await find(tenant, 'vector_search', 'zebra', restarted.url)).map(({ path }) => path)).toContain(
        'a.md',
      );
    } finally {
      await database.end();
      await restarted.stop();
    }
  }, 20_000);
});
