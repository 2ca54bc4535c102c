import { FakeServer, json, newKey } from './issuer.fixture.js';
import { PublishedKeys } from './issuer-keys.js';

const [first, second] = [newKey(), newKey()];
const UNKNOWN = expect.objectContaining({ code: 'unauthenticated' });
const AWAY = expect.objectContaining({ code: 'identity-unavailable', status: 503, retryable: true });

describe('published keys', () => {
  let server: FakeServer;
  let keys: PublishedKeys;
  let published: object[];
  let away: boolean;

  beforeEach(async () => {
    [published, away] = [[first.jwk], false];
    server = await FakeServer.start();
    server.handle = (response) =>
      away ? response.writeHead(503).end() : json(response, { keys: published });
    keys = new PublishedKeys(`${server.url}/`);
  });

  afterEach(() => {
    keys.onApplicationShutdown();
    server.stop();
    jest.restoreAllMocks();
  });

  /** The look for unknown ids has a cooldown. */
  const later = () => {
    const soon = Date.now() + 1500;
    jest.spyOn(Date, 'now').mockReturnValue(soon);
  };

  it('are read once, at the place where they are published', async () => {
    const found = await Promise.all([keys.find(first.kid), keys.find(first.kid), keys.ready()]);
    await keys.find(first.kid);
    expect(found[0]!.export({ format: 'jwk' })).toMatchObject({ n: first.jwk.n });
    expect(server.requests.map(({ path }) => path)).toEqual(['/.well-known/jwks.json']);
  });

  it('are read again for an id that is not among them, but not for every request', async () => {
    await keys.find(first.kid);
    published.push(second.jwk);
    later();
    await keys.find(second.kid);
    for (let i = 0; i < 20; i += 1) await expect(keys.find(`unknown-${i}`)).rejects.toEqual(UNKNOWN);
    expect(server.requests).toHaveLength(2);
  });

  it('stay in use while identity is away; what they do not tell is not known then', async () => {
    await keys.find(first.kid);
    away = true;
    later();
    expect(await keys.find(first.kid)).toBeDefined();
    await expect(keys.find(second.kid)).rejects.toEqual(AWAY);
  });

  it('make nobody ready before they were read, and say why', async () => {
    away = true;
    await expect(keys.ready()).rejects.toEqual(AWAY);
    away = false;
    await keys.ready();
  });

  it('that cannot be reached at all are away, not unknown', async () => {
    server.stop();
    await expect(keys.find(first.kid)).rejects.toEqual(AWAY);
  });
});
