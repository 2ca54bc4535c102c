import { linesForPeople } from './detach.js';
import { changedSettings, type Stack } from './stack.js';
import { curlLine, summary } from './summary.js';
import { table } from './table.js';

const host = {
  services: [
    { name: 'scripted-llm' as const, url: 'http://127.0.0.1:8085' },
    { name: 'gateway' as const, url: 'http://127.0.0.1:8080' },
  ],
  scripted: true,
};

describe('summary', () => {
  const facts = {
    title: 'Up.',
    host,
    databaseUrl: 'postgres://me:hunter2@db:5432/x',
    redisUrl: 'redis://cache',
    kafkaBrokers: null,
    schemaRegistryUrl: null,
    token: 'T',
  };

  it('names every address, the token and a line to paste, and no password', () => {
    const text = summary(facts);
    for (const part of [
      'http://127.0.0.1:8085',
      'http://127.0.0.1:8080',
      'redis://cache',
      '\nTOKEN=T\n',
      'curl -sS',
    ])
      expect(text).toContain(part);
    expect(text).not.toContain('hunter2');
  });

  it('names Kafka and its schema registry where the stack has them', () => {
    expect(summary(facts)).not.toContain('kafka');
    const kafka = { kafkaBrokers: '127.0.0.1:8192', schemaRegistryUrl: 'http://u:hunter2@registry/' };
    const text = summary({ ...facts, ...kafka });
    expect(text).toMatch(/kafka +127\.0\.0\.1:8192/);
    expect(text).toMatch(/schema-registry +http:/);
    expect(text).not.toContain('hunter2');
  });

  it('says which model answers', () => {
    expect(summary(facts)).toContain('The scripted model answers');
    expect(summary({ ...facts, host: { ...host, scripted: false } })).not.toContain('scripted model');
  });
});

describe('curlLine', () => {
  it('is one line whose body is JSON', () => {
    const line = curlLine('http://127.0.0.1:8080');
    expect(line).not.toContain('\n');
    expect(JSON.parse(/-d '([^']*)'$/.exec(line)![1]!)).toHaveProperty('prompt');
  });
});

describe('changedSettings', () => {
  const digest = {
    model: 'a',
    database: 'b',
    redis: 'c',
    kafka: 'e',
    secret: 's',
    schemaRegistry: 'f',
    build: 'd',
  };
  const stack = (env: Record<string, string>, portOffset: number, model = 'a') =>
    ({ env, settings: { portOffset }, settingsDigest: () => ({ ...digest, model }) }) as unknown as Stack;

  it('is silent while nothing has changed, and about an offset that the shell leaves open', () => {
    expect(changedSettings({ settings: digest, portOffset: 100 }, stack({}, 0))).toBeNull();
  });

  it('names what differs and the way to change it', () => {
    const text = changedSettings(
      { settings: digest, portOffset: 100 },
      stack({ BATON_PORT_OFFSET: '0' }, 0, 'z'),
    );
    expect(text).toMatch(/another model, BATON_PORT_OFFSET .*baton down/);
  });
});

describe('table', () => {
  it('aligns columns', () => {
    expect(
      table(
        ['', 'state'],
        [
          ['redis', 'up'],
          ['a', 'down'],
        ],
      ),
    ).toBe('       state\nredis  up\na      down\n');
  });
});

describe('linesForPeople', () => {
  it("leaves out the services' JSON and an unfinished line", () => {
    expect(linesForPeople('{"level":30}\nNo Redis found\n\nhalf a li')).toEqual(['No Redis found']);
  });
});
