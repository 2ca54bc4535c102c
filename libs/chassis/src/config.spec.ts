import { bool, bounded, httpUrl, kafkaBrokers, loadConfig, postgresUrl, redisUrl, str } from './config.js';

const SPECS = {
  DATABASE_URL: str(),
  PORT: bounded(0, 65_535)({ default: 8080 }),
  REGISTRY: httpUrl({ default: 'http://registry' }),
  LEVEL: str({ default: 'info', choices: ['info', 'debug'] }),
  FLAG: bool({ default: false }),
};

const ADDRESSES = { DATABASE_URL: postgresUrl(), REDIS_URL: redisUrl(), KAFKA_BROKERS: kafkaBrokers() };

describe('configuration', () => {
  it('is typed and has its defaults', () => {
    expect({ ...loadConfig({ DATABASE_URL: 'postgres://x', PORT: '90', FLAG: '1' }, SPECS) }).toEqual({
      DATABASE_URL: 'postgres://x',
      PORT: 90,
      REGISTRY: 'http://registry',
      LEVEL: 'info',
      FLAG: true,
    });
  });

  it('names every missing and wrong variable at once', () => {
    const load = () =>
      loadConfig({ PORT: '70000', REGISTRY: 'nowhere', LEVEL: 'loud', FLAG: 'perhaps' }, SPECS);
    expect(load).toThrow(expect.objectContaining({ code: 'configuration' }));
    for (const name of ['DATABASE_URL is missing', 'PORT', 'REGISTRY', 'LEVEL', 'FLAG'])
      expect(load).toThrow(name);
  });

  it('says what a bounded number has to be', () => {
    expect(() => loadConfig({ N: '5' }, { N: bounded(1, 4)() })).toThrow(
      'N: a whole number from 1 to 4 is wanted, not "5"',
    );
  });

  it.each(['0', '1.5', '', ' ', 'x', '1e9', 'Infinity', 'NaN'])('refuses %j for 1 to 100', (text) => {
    expect(() => loadConfig({ N: text }, { N: bounded(1, 100)() })).toThrow(/N/);
  });

  it('takes the bounds themselves', () => {
    expect(loadConfig({ A: '1', B: '100' }, { A: bounded(1, 100)(), B: bounded(1, 100)() })).toMatchObject({
      A: 1,
      B: 100,
    });
  });

  it.each([
    ['postgres://me:secret@db:5432/baton', 'rediss://:secret@cache:6380/1', 'kafka-1:9092, kafka-2:9092'],
    ['postgresql://db/baton?sslmode=require', 'redis://cache', 'localhost:9092'],
  ])('takes addresses as clients know them (%s)', (DATABASE_URL, REDIS_URL, KAFKA_BROKERS) => {
    const env = { DATABASE_URL, REDIS_URL, KAFKA_BROKERS };
    expect(loadConfig(env, ADDRESSES)).toMatchObject(env);
  });

  it('takes an empty address for none where that is the default, and nowhere else', () => {
    const load = (spec?: { default: '' }) => loadConfig({ REDIS_URL: '' }, { REDIS_URL: redisUrl(spec) });
    expect(load({ default: '' })).toMatchObject({ REDIS_URL: '' });
    expect(load).toThrow('REDIS_URL');
  });

  it('says how an address has to look, without the one that was given: it may hold a password', () => {
    const load = () =>
      loadConfig(
        { DATABASE_URL: 'me:secret@db', REDIS_URL: 'https://:secret@x', KAFKA_BROKERS: 'secret' },
        ADDRESSES,
      );
    expect(load).toThrow(
      /DATABASE_URL: an address like postgres:.*REDIS_URL: .*redis:.*KAFKA_BROKERS: .*kafka-1:9092/,
    );
    expect(load).not.toThrow(/secret/);
  });
});
