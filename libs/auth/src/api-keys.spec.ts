import { randomBytes } from 'node:crypto';
import { ApiKeys } from './api-keys.js';
import { FakeServer, json } from './issuer.fixture.js';

const newKey = () => `baton_${randomBytes(8).toString('hex')}_${randomBytes(32).toString('hex')}`;
const [GOOD, OTHER] = [newKey(), newKey()];
const [HERE, THERE] = ['192.0.2.1', '192.0.2.2'];

describe('API keys that are wrong', () => {
  let server: FakeServer;
  let apiKeys: ApiKeys;

  beforeEach(async () => {
    server = await FakeServer.start();
    server.handle = (response, form) =>
      [GOOD, OTHER].includes(form.get('subject_token')!)
        ? json(response, { access_token: 'good', expires_in: 300 })
        : json(response, { error: 'invalid_grant' }, 400);
    apiKeys = ApiKeys.at({ identityUrl: server.url, clientId: 'gateway', clientSecret: 's' });
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await apiKeys.onApplicationShutdown();
    server.stop();
  });

  const statusOf = (key: string, address = HERE) =>
    apiKeys.authorization(key, address).then(
      () => 200,
      ({ status }: { status: number }) => status,
    );
  const wrong = (count: number, address = HERE) =>
    Promise.all(Array.from({ length: count }, () => statusOf(newKey(), address)));
  /** Clocks, once the cache has looked at them. */
  const later = async (ms: number) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const [date, monotonic] = [Date.now() + ms, performance.now() + ms];
    jest.spyOn(Date, 'now').mockReturnValue(date);
    jest.spyOn(performance, 'now').mockReturnValue(monotonic);
  };

  it('cost identity 30 questions a minute per address, also when they come at once', async () => {
    const statuses = await wrong(100);
    expect(statuses.filter((status) => status === 401)).toHaveLength(30);
    expect(statuses.filter((status) => status === 429)).toHaveLength(70);
    expect(server.requests).toHaveLength(30);
    expect(await wrong(1, THERE)).toEqual([401]);
  });

  it('count when they are no keys at all, and when they come again', async () => {
    const again = newKey();
    for (let i = 0; i < 10; i += 1) await statusOf('x');
    for (let i = 0; i < 20; i += 1) await statusOf(again);
    expect(await statusOf('x')).toBe(429);
    expect(server.requests).toHaveLength(1);
  });

  it('hold up the first use of a right one from there, and no use of one that was right before', async () => {
    expect(await statusOf(GOOD)).toBe(200);
    await wrong(30);
    expect(await statusOf(OTHER)).toBe(429);
    expect(await statusOf(OTHER, THERE)).toBe(200);
    expect(await statusOf(GOOD)).toBe(200);
    // It has to be looked up again.
    await later(31_000);
    const before = server.requests.length;
    expect(await statusOf(GOOD)).toBe(200);
    expect(server.requests).toHaveLength(before + 1);
  });

  it('do not drive right ones out of memory', async () => {
    await statusOf(GOOD);
    // On a slow machine it would be forgotten for its age.
    await later(0);
    const before = server.requests.length;
    for (let i = 0; i < 400; i += 1) await wrong(30, `198.51.100.${i}`);
    expect(await statusOf(GOOD)).toBe(200);
    expect(server.requests).toHaveLength(before + 12_000);
  }, 60_000);

  it('are not what a right key is that identity cannot be asked about', async () => {
    const { handle } = server;
    server.handle = (response) => response.writeHead(503).end();
    for (let i = 0; i < 40; i += 1) expect(await statusOf(GOOD)).toBe(503);
    server.handle = handle;
    expect(await statusOf(GOOD)).toBe(200);
  });
});
