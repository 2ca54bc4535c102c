import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningService } from '#libs/chassis';
import { clientCredentials, exchange, IdentityFixture, kidOf } from '../identity.fixture.js';
import { KeyVault } from './key-vault.js';
import { MAX_KEYS } from './keys.repository.js';

let fixture: IdentityFixture;

beforeEach(async () => {
  fixture = await IdentityFixture.open();
}, 60_000);
afterEach(() => fixture?.stop());

const published = async ({ url }: RunningService) =>
  ((await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: Array<{ kid: string }> }).keys.map(
    ({ kid }) => kid,
  );
const signsWith = async ({ url }: RunningService) =>
  kidOf((await clientCredentials(url, 'gateway', 'agent-search')).body.access_token);
const rotate = async ({ url }: RunningService) => {
  const token = (await clientCredentials(url, 'cli', 'identity')).body.access_token;
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/keys/rotate`, { method: 'POST', headers });
  expect(response.status).toBe(200);
  return (await response.json()) as { current: string; next: string };
};
/** As if the keys had been made so long ago. */
const age = (hours: number) =>
  fixture.sql.query(
    `update identity.signing_keys set created_at = created_at - $1 * interval '1 hour', signs_from = signs_from - $1 * interval '1 hour'`,
    [hours],
  );

describe('rotation', () => {
  it('lets the published next key sign, and keeps the former one published', async () => {
    const service = await fixture.start();
    const first = await signsWith(service);
    expect(first).toBe(fixture.signer.publicJwk.kid);
    const next = (await published(service)).find((kid) => kid !== first)!;
    await age(1);
    const token = fixture.signer.sign({
      sub: 'ada',
      user: 'ada',
      tenant: 'a',
      aud: 'agent-search',
      scope: 'tasks:read',
    });
    expect((await rotate(service)).current).toBe(next);
    expect(await signsWith(service)).toBe(next);
    expect(await published(service)).toEqual(expect.arrayContaining([first, next]));
    expect(await published(service)).toHaveLength(3);
    expect((await exchange(service.url, 'agent-search', token)).status).toBe(200);
  });

  it('does not sign with a key that nobody can know yet', async () => {
    const service = await fixture.start();
    const [first] = [await signsWith(service)];
    await rotate(service);
    // The next key was made a moment ago.
    expect(await signsWith(service)).toBe(first);
  });

  it('on schedule by several instances at once happens once', async () => {
    const env = { KEY_ROTATION_HOURS: '1' };
    const services = await Promise.all([fixture.start(env), fixture.start(env), fixture.start(env)]);
    expect(new Set(await Promise.all(services.map(signsWith))).size).toBe(1);
    expect(await published(services[0]!)).toHaveLength(2);
    await age(2);
    const { SigningKeys } = await import('./signing-keys.js');
    const maintain = (service: RunningService) =>
      (service.app.get(SigningKeys) as unknown as { maintain(): Promise<void> }).maintain();
    await Promise.all(services.map(maintain));
    expect((await fixture.sql.query('select 1 from identity.signing_keys')).rowCount).toBe(3);
    await Promise.all(services.map(maintain));
    expect((await fixture.sql.query('select 1 from identity.signing_keys')).rowCount).toBe(3);
    // Each knows what the others made.
    await sleep(5500);
    const known = await Promise.all(services.map(published));
    expect(new Set(known.map((kids) => kids.toSorted().join()))).toHaveProperty('size', 1);
    expect(new Set(await Promise.all(services.map(signsWith))).size).toBe(1);
  }, 30_000);

  it('forgets a key once no token of it can come', async () => {
    const service = await fixture.start();
    const first = await signsWith(service);
    await age(1);
    await rotate(service);
    const { SigningKeys } = await import('./signing-keys.js');
    const keys = service.app.get(SigningKeys) as unknown as { maintain(): Promise<void> };
    await keys.maintain();
    expect(await published(service)).toContain(first);
    // A message may wait for so long with a token of it.
    await age(9 * 24);
    await keys.maintain();
    expect(await published(service)).toContain(first);
    await age(2);
    await keys.maintain();
    expect(await published(service)).not.toContain(first);
  });
});

it('publishes no more keys than services can be expected to read, however often they are rotated', async () => {
  const service = await fixture.start();
  await age(1);
  const vault = new KeyVault('a secret of the tests with 32 chars');
  const { pem, publicJwk } = fixture.signer;
  for (let i = 3; i < MAX_KEYS; i += 1) {
    const kid = `former-${i}`;
    await fixture.sql.query(
      `insert into identity.signing_keys (kid, public_jwk, private_key, signs_from) values ($1, $2, $3, now() - interval '2 hours')`,
      [kid, JSON.stringify({ ...publicJwk, kid }), vault.seal(kid, pem)],
    );
  }
  await rotate(service);
  expect(await published(service)).toHaveLength(MAX_KEYS);
  const token = (await clientCredentials(service.url, 'cli', 'identity')).body.access_token;
  const headers = { authorization: `Bearer ${token}` };
  const refused = await fetch(`${service.url}/keys/rotate`, { method: 'POST', headers });
  expect(await refused.json()).toMatchObject({ status: 429, code: 'too-many-keys' });
  const jwks = await (await fetch(`${service.url}/.well-known/jwks.json`)).text();
  expect(jwks.length).toBeLessThan(MAX_KEYS * 500);
});

describe('keys in the database', () => {
  it('are encrypted', async () => {
    await fixture.start();
    const { rows } = await fixture.sql.query<{ private_key: Buffer }>(
      'select private_key from identity.signing_keys',
    );
    expect(rows).toHaveLength(2);
    for (const { private_key } of rows) expect(private_key.toString('latin1')).not.toMatch(/PRIVATE|MII/);
  });

  it('that the secret does not open leave the service alive, not ready, and say what to do', async () => {
    await fixture.start();
    const other = await fixture.start({ IDENTITY_KEY_SECRET: 'another secret of 32 characters!!' });
    expect((await fetch(`${other.url}/health`)).status).toBe(200);
    const ready = await fetch(`${other.url}/ready`);
    expect(ready.status).toBe(503);
    expect(JSON.stringify(await ready.json())).toMatch(/IDENTITY_KEY_SECRET does not open/);
    const answer = await clientCredentials(other.url, 'gateway', 'agent-search');
    expect([answer.status, answer.body.error]).toEqual([503, 'temporarily_unavailable']);
  });

  it('are not needed for a token once they were read', async () => {
    const service = await fixture.start();
    await fixture.sql.query('alter table identity.signing_keys rename to hidden');
    await sleep(100);
    expect((await clientCredentials(service.url, 'gateway', 'agent-search')).status).toBe(200);
  });
});

it('a wrong configuration is named in one answer', async () => {
  const failure = fixture.start({
    IDENTITY_KEY_SECRET: 'short',
    KEY_ROTATION_HOURS: '0',
    IDENTITY_CLIENTS: undefined,
  });
  await expect(failure).rejects.toThrow(
    /IDENTITY_KEY_SECRET.*KEY_ROTATION_HOURS|IDENTITY_CLIENTS is missing/s,
  );
});
