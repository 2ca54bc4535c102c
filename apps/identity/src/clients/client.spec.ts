import { createHash } from 'node:crypto';
import { readClients } from './client.js';

const SECRET = 's'.repeat(32);
const read = (...list: unknown[]) => readClients(JSON.stringify(list));

describe('IDENTITY_CLIENTS', () => {
  it('keeps no secret, and takes what is left out from the call matrix', () => {
    const [gateway, agent] = read({ id: 'gateway', secret: SECRET }, { id: 'agent-x', secret: SECRET });
    expect(gateway).toMatchObject({ scopes: ['tasks:read', 'tasks:write', 'admin'], tokenSeconds: 300 });
    expect(gateway!.audiences).toContain('agent-*');
    expect(agent!.audiences).toContain('tool-registry');
    expect(agent!.audiences).not.toContain('agent-*');
    expect(agent!.scopes).not.toContain('admin');
    expect(JSON.stringify([gateway, agent])).not.toContain(SECRET);
  });

  it('takes the digest of a secret instead', () => {
    const secret_sha256 = createHash('sha256').update(SECRET).digest('hex');
    expect(read({ id: 'a', secret_sha256 })[0]!.secretHash).toEqual(
      read({ id: 'a', secret: SECRET })[0]!.secretHash,
    );
  });

  it('lets a client that the matrix does not know call nobody', () => {
    expect(read({ id: 'stranger', secret: SECRET })[0]).toMatchObject({ audiences: [], scopes: [] });
  });

  it.each<[unknown, RegExp]>([
    [{ id: 'a', secret: 'short' }, /\[0\] secret: at least 32/],
    [{ id: 'a' }, /secret or secret_sha256/],
    [{ id: 'a', secret: SECRET, secret_sha256: 'a'.repeat(64) }, /secret or secret_sha256/],
    [{ id: 'a', secret_sha256: 'xyz' }, /64 hexadecimal/],
    [{ id: 'A B', secret: SECRET }, /id:/],
    [{ id: 'a', secret: SECRET, scopes: ['root'] }, /scopes:/],
    [{ id: 'a', secret: SECRET, audiences: 'all' }, /audiences:/],
    [{ id: 'a', secret: SECRET, token_seconds: 1e9 }, /token_seconds:/],
    [{ id: 'a', secret: SECRET, audience: [] }, /audience is not known/],
  ])('refuses %j', (entry, reason) => {
    expect(() => read(entry)).toThrow(reason);
    expect(() => read(entry)).not.toThrow(SECRET);
  });

  it('names all faults at once, a client that is there twice among them', () => {
    const twice = { id: 'a', secret: SECRET };
    expect(() => read(twice, { id: 'b' }, twice, { id: '' })).toThrow(/\[1\].*\[3\].*a is there twice/);
  });

  it.each(['', 'x', '{}', '[1]', 'null'])('refuses %j', (text) => {
    expect(() => readClients(text)).toThrow(/a JSON list of objects is wanted/);
  });
});
