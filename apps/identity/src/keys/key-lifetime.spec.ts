import { LONGEST_MESSAGE_DAYS } from '#libs/contracts';
import { readConfig } from '../config.js';
import { keepSecondsOf } from './key-lifetime.js';

const DAY = 86_400;
const REQUIRED = {
  DATABASE_URL: 'postgres://x',
  IDENTITY_CLIENTS: JSON.stringify([
    { id: 'gateway', secret: 's'.repeat(32) },
    { id: 'cli', secret: 's'.repeat(32), token_seconds: DAY },
  ]),
  IDENTITY_KEY_SECRET: 's'.repeat(32),
};
const keep = (env: Record<string, string> = {}) => keepSecondsOf(readConfig({ ...REQUIRED, ...env }));

describe('a key is published', () => {
  it('by default until the last message with a token of it has left its topic', () => {
    expect(keep()).toBeGreaterThanOrEqual((LONGEST_MESSAGE_DAYS + 1) * DAY + DAY);
  });

  it('as long as messages may wait, or work goes on, and its tokens live before', () => {
    expect(keep({ MESSAGE_RETENTION_DAYS: '30' })).toBeGreaterThanOrEqual(31 * DAY);
    const delegating = { MESSAGE_RETENTION_DAYS: '1', BATON_DELEGATION_SECONDS: String(3 * DAY) };
    expect(keep(delegating)).toBeGreaterThanOrEqual(4 * DAY);
  });

  it('with not too many others: what would be too many is refused at the start', () => {
    expect(keep({ KEY_ROTATION_HOURS: '1' })).toBeGreaterThan(0);
    expect(() => keep({ KEY_ROTATION_HOURS: '1', MESSAGE_RETENTION_DAYS: '30' })).toThrow(
      /KEY_ROTATION_HOURS=1 with MESSAGE_RETENTION_DAYS=30/,
    );
  });
});
