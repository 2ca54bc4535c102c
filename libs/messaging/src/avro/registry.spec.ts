import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RegistrySchemas } from './registry.js';

describe('a schema id', () => {
  let server: Server;
  let registry: RegistrySchemas;
  let asked = 0;
  let answer: { status: number; body: object };

  beforeAll(async () => {
    server = createServer((_, response) => {
      asked += 1;
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer.body));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    registry = new RegistrySchemas(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
  afterAll(() => void server.close());

  const found = { type: 'record', name: 'com.baton.agents.v1.AgentTaskCancel', fields: [] };

  it.each<[string, number, number, object]>([
    ['that the registry does not know', 1, 404, { error_code: 40_403, message: 'Schema not found' }],
    ['of a schema that cannot be parsed', 2, 200, { schema: '{"type":"record"}' }],
    ['of a schema that is no JSON', 3, 200, { schema: 'syntax = "proto3";' }],
    ['of an answer without a schema', 4, 200, {}],
    ['that the registry finds wrong', 5, 422, { error_code: 422, message: 'Invalid id' }],
  ])('%s is unknown: no other try could help', async (_, id, status, body) => {
    answer = { status, body };
    expect(await registry.find(id)).toBeNull();
  });

  it('that no registry can have is not asked for', async () => {
    const before = asked;
    expect(await registry.find(0xffff_ffff)).toBeNull();
    expect(asked).toBe(before);
  });

  it.each([401, 403, 429, 500, 503])('is asked for again after a %i', async (status) => {
    answer = { status, body: {} };
    await expect(registry.find(10 + status)).rejects.toMatchObject({ code: 'schema-registry-unavailable' });
    answer = { status: 200, body: { schema: JSON.stringify(found) } };
    expect(await registry.find(10 + status)).toMatchObject({ name: found.name });
  });

  it('is asked for again when there was no answer', async () => {
    const nobody = new RegistrySchemas('http://127.0.0.1:1');
    await expect(nobody.find(10)).rejects.toMatchObject({ code: 'schema-registry-unavailable' });
  });
});
