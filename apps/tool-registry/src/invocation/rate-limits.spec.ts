import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { createLogger } from '#libs/telemetry';
import { RateLimits } from './rate-limits.js';

describe('rate limits', () => {
  // A Redis that never answers: the instance counts for itself.
  const silent = createServer((socket) => void socket.resume().on('error', () => undefined));
  let limits: RateLimits;

  beforeAll(async () => {
    await once(silent.listen(0, '127.0.0.1'), 'listening');
    const { port } = silent.address() as AddressInfo;
    limits = new RateLimits(`redis://127.0.0.1:${port}`, createLogger('test', 'silent'));
  });
  afterAll(() => {
    limits.onApplicationShutdown();
    silent.close();
  });

  const burst = async (tool: string, perMinute: number, calls: number) => {
    const ends = await Promise.allSettled(
      Array.from({ length: calls }, () => limits.consume('agent', tool, perMinute)),
    );
    return ends.filter(({ status }) => status === 'fulfilled').length;
  };

  it.each([
    [1000, 1000],
    [199, 199],
    [2, 2],
  ])('of %i calls a minute admit %i that come at once', async (perMinute, calls) => {
    const tool = `tool_${perMinute}`;
    expect(await burst(tool, perMinute, calls)).toBe(calls);
    expect(await burst(tool, perMinute, 3)).toBe(0);
  });

  it('tell how many calls are left', async () => {
    expect((await limits.consume('agent', 'told', 1000))['RateLimit']).toBe('"tool";r=999;t=60');
    expect((await limits.consume('agent', 'told', 1000))['RateLimit']).toMatch(/^"tool";r=998;t=/);
  });
});
