import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatonHome } from './home.js';
import { withoutOwnAddresses } from './own-addresses.js';
import { freePort } from './ports.js';
import { own } from './processes.js';
import { devPort, readSettings } from './settings.js';

const NONE = { databaseUrl: null, redisUrl: null, kafkaBrokers: null, schemaRegistryUrl: null };

describe('withoutOwnAddresses', () => {
  let home: BatonHome;
  let offset: number;
  let port: number;
  beforeEach(async () => {
    home = new BatonHome(mkdtempSync(join(tmpdir(), 'baton-own-')));
    offset = (await freePort()) - devPort('kafka', 0);
    port = devPort('kafka', offset);
  });
  afterEach(() => rmSync(home.folder, { recursive: true }));
  const read = (env: Record<string, string>) =>
    withoutOwnAddresses(readSettings({ BATON_PORT_OFFSET: String(offset), ...env }), home);

  it('takes what the stack would start as not given', () => {
    const env = {
      DATABASE_URL: `postgres://baton:x@localhost:${devPort('postgres', offset)}/baton`,
      REDIS_URL: `redis://127.0.0.1:${devPort('redis', offset)}`,
      KAFKA_BROKERS: `127.0.0.1:${port}`,
      SCHEMA_REGISTRY_URL: `http://127.0.0.1:${devPort('schema-registry', offset)}/apis/ccompat/v7`,
    };
    expect(read(env)).toMatchObject(NONE);
  });

  it('takes what the stack has started as not given, whatever the offset', () => {
    home.write('kafka', { ...own(process.pid), port: 1234 });
    expect(read({ KAFKA_BROKERS: '127.0.0.1:1234' }).kafkaBrokers).toBeNull();
  });

  it("keeps other addresses, and another program's on a port of the stack", async () => {
    const others = { KAFKA_BROKERS: `broker:${port}`, DATABASE_URL: 'postgres://db/x' };
    expect(read(others)).toMatchObject({ kafkaBrokers: `broker:${port}`, databaseUrl: 'postgres://db/x' });
    expect(read({ KAFKA_BROKERS: `127.0.0.1:${port},broker:9092` }).kafkaBrokers).not.toBeNull();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    expect(read({ KAFKA_BROKERS: `127.0.0.1:${port}` }).kafkaBrokers).toBe(`127.0.0.1:${port}`);
    await new Promise((resolve) => server.close(resolve));
  });
});
