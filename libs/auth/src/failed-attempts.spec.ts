import { RetryableError, TerminalError } from '#libs/contracts';
import { FailedAttempts, networkOf } from './failed-attempts.js';

const LIMITED = expect.objectContaining({
  code: 'rate-limited',
  status: 429,
  headers: {
    'RateLimit-Policy': '"failures";q=30;w=60',
    RateLimit: expect.stringMatching(/^"failures";r=0;t=\d+$/),
  },
});

describe('failed attempts', () => {
  it('are 30 a minute for one address, and for each its own', () => {
    const attempts = new FailedAttempts(30);
    for (let i = 0; i < 30; i += 1) attempts.begin('192.0.2.1');
    expect(() => attempts.begin('192.0.2.1')).toThrow(LIMITED);
    attempts.begin('192.0.2.2');
  });

  it('are those that were not taken back', () => {
    const attempts = new FailedAttempts(30);
    for (let i = 0; i < 100; i += 1) attempts.begin('192.0.2.1')();
    for (let i = 0; i < 30; i += 1) attempts.begin('192.0.2.1');
    expect(() => attempts.begin('192.0.2.1')).toThrow(LIMITED);
  });

  it('are told with a refusal, and with nothing else', () => {
    const attempts = new FailedAttempts(30);
    attempts.begin('192.0.2.1');
    const refused = new TerminalError('unauthenticated', 'No', { status: 401, headers: { a: 'b' } });
    const told = attempts.told(refused, '192.0.2.1');
    expect(told).toMatchObject({
      ...{ code: 'unauthenticated', status: 401, message: 'No' },
      headers: {
        a: 'b',
        'RateLimit-Policy': '"failures";q=30;w=60',
        RateLimit: expect.stringMatching(/^"failures";r=29;t=(59|60)$/) as string,
      },
    });
    const away = new RetryableError('identity-unavailable', 'away');
    expect(attempts.told(away, '192.0.2.1')).toBe(away);
  });

  /** The cache looks at the clock once a millisecond. */
  async function aMinuteLater(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const later = performance.now() + 61_000;
    jest.spyOn(performance, 'now').mockReturnValue(later);
  }
  afterEach(() => jest.restoreAllMocks());

  it('are forgotten a minute after the first', async () => {
    const attempts = new FailedAttempts(30);
    for (let i = 0; i < 30; i += 1) attempts.begin('192.0.2.1');
    await aMinuteLater();
    expect(() => attempts.begin('192.0.2.1')).not.toThrow();
  });

  it('are taken back from their own minute alone', async () => {
    const attempts = new FailedAttempts(30);
    const slow = Array.from({ length: 10 }, () => attempts.begin('192.0.2.1'));
    await aMinuteLater();
    attempts.begin('192.0.2.1');
    for (const takeBack of slow) takeBack();
    for (let i = 1; i < 30; i += 1) attempts.begin('192.0.2.1');
    expect(() => attempts.begin('192.0.2.1')).toThrow(LIMITED);
  });

  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['unknown', 'unknown'],
  ])('of %s are those of %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});
