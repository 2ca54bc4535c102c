import { KeyVault } from './key-vault.js';

const vault = new KeyVault('a secret of the tests with 32 chars');

describe('the key vault', () => {
  it('gives back what it was given, and shows none of it', () => {
    const sealed = vault.seal('kid-1', 'PRIVATE KEY');
    expect(sealed.toString('latin1')).not.toContain('PRIVATE');
    expect(vault.open('kid-1', sealed)).toBe('PRIVATE KEY');
    expect(vault.seal('kid-1', 'PRIVATE KEY')).not.toEqual(sealed);
  });

  it.each<[string, (sealed: Buffer) => string]>([
    [
      'with another secret',
      (sealed) => new KeyVault('another secret of 32 characters!').open('kid-1', sealed),
    ],
    ['of another key id', (sealed) => vault.open('kid-2', sealed)],
    [
      'that were changed',
      (sealed) => vault.open('kid-1', Buffer.from(sealed.map((b, i) => (i === 30 ? b ^ 1 : b)))),
    ],
    ['that were cut', (sealed) => vault.open('kid-1', sealed.subarray(0, 20))],
    ['that are none', () => vault.open('kid-1', Buffer.alloc(0))],
  ])('does not open bytes %s', (_, open) => {
    expect(() => open(vault.seal('kid-1', 'PRIVATE KEY'))).toThrow(/IDENTITY_KEY_SECRET does not open/);
  });
});
