import { expiryOf, idOf, requireScopes } from './keys.js';

const NOW = new Date('2026-01-01T00:00:00Z');

describe('--expires', () => {
  it.each([
    ['90m', '2026-01-01T01:30:00.000Z'],
    ['12h', '2026-01-01T12:00:00.000Z'],
    ['30d', '2026-01-31T00:00:00.000Z'],
    ['2026-02-01T00:00:00Z', '2026-02-01T00:00:00.000Z'],
  ])('%s', (text, date) => {
    expect(expiryOf(text, NOW).toISOString()).toBe(date);
  });

  it.each(['soon', '30', '-1d', '0d', '1y', '2025-01-01', ''])('refuses %j', (text) => {
    expect(() => expiryOf(text, NOW)).toThrow(/--expires/);
  });
});

describe('--scope', () => {
  it('that does not exist is refused with those that do', () => {
    expect(() => requireScopes(['tasks:read', 'nonsense'])).toThrow(
      '--scope nonsense: there are tasks:read, tasks:write, admin',
    );
    expect(() => requireScopes(['tasks:read', 'admin'])).not.toThrow();
  });
});

describe('the key to revoke', () => {
  it('is named by its id or by itself', () => {
    expect(idOf('0123456789abcdef')).toBe('0123456789abcdef');
    expect(idOf(`baton_0123456789abcdef_${'0'.repeat(64)}`)).toBe('0123456789abcdef');
  });
});
