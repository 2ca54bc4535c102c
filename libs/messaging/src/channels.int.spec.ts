import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { Readiness } from '#libs/chassis';
import { createLogger } from '#libs/telemetry';
import { Channels } from './channels.js';
import { RedisConnections } from './redis.js';

const REDIS_URL = process.env['TEST_REDIS_URL'];
const prefix = `test:${randomBytes(6).toString('hex')}:`;
const connections: RedisConnections[] = [];

/** Channels over connections of their own, once they are there. */
async function connected(url = REDIS_URL!): Promise<Channels> {
  const redis = new RedisConnections(url, new Readiness(), createLogger('test', 'silent'));
  connections.push(redis);
  while (redis.commands.status !== 'ready') await new Promise((resolve) => setTimeout(resolve, 10));
  return new Channels(redis);
}

beforeAll(() => {
  if (!REDIS_URL) throw new Error('TEST_REDIS_URL is not set');
});
afterAll(() => connections.forEach((redis) => redis.onApplicationShutdown()));

/** What `channels` hear until `count` messages have come. */
async function heard(listener: Channels, channels: string[], count: number) {
  const messages: Array<[string, string]> = [];
  let done!: () => void;
  const all = new Promise<void>((resolve) => (done = resolve));
  for (const channel of channels)
    await listener.subscribe(prefix + channel, (message) => {
      if (messages.push([channel, message]) === count) done();
    });
  return { messages, all };
}

describe('channels', () => {
  it('carry every message of one moment once, in order', async () => {
    const [here, there] = [await connected(), await connected()];
    const sent = Array.from({ length: 1500 }, (_, i): [string, string] => [i % 3 ? 'a' : 'b', `${i}`]);
    const { messages, all } = await heard(there, ['a', 'b'], sent.length);
    for (const [channel, message] of sent) here.publish(prefix + channel, message);
    await all;
    expect(messages).toEqual(sent);
  });

  it('of which Redis refuses one do not take the others with them', async () => {
    const admin = new Redis(REDIS_URL!);
    const user = prefix.replaceAll(':', '-');
    try {
      await admin.acl('SETUSER', user, 'on', '>secret', '+@all', '~*', 'resetchannels', `&${prefix}open`);
      const url = new URL(REDIS_URL!);
      [url.username, url.password] = [user, 'secret'];
      const here = await connected(url.href);
      const { messages, all } = await heard(await connected(), ['open', 'closed'], 2);
      for (const channel of ['open', 'closed', 'open']) here.publish(prefix + channel, 'x');
      await all;
      expect(messages).toEqual([
        ['open', 'x'],
        ['open', 'x'],
      ]);
    } finally {
      await admin.acl('DELUSER', user);
      admin.disconnect();
    }
  });
});
