import type { TerminalError } from '#libs/contracts';
import { freePort, readSettings } from '#libs/devstack';
import { requireAnswers, theirServers } from './their-servers.js';

const theirs = (env: Record<string, string>) => theirServers(readSettings(env), env);

describe("a person's own servers", () => {
  it('are asked for an answer; each that gives none is named with its variable, and no password', async () => {
    const nobody = `127.0.0.1:${await freePort()}`;
    const asked = requireAnswers(
      theirs({
        DATABASE_URL: `postgres://me:hunter2@${nobody}/x`,
        REDIS_URL: `redis://:hunter2@${nobody}`,
        KAFKA_BROKERS: nobody,
        SCHEMA_REGISTRY_URL: `http://me:hunter2@${nobody}/apis/ccompat/v7`,
      }),
    );
    const { code, message } = (await asked.catch((error: unknown) => error)) as TerminalError;
    expect(code).toBe('server-unavailable');
    const lines = message.split('\n');
    for (const [i, variable] of [
      'DATABASE_URL',
      'REDIS_URL',
      'KAFKA_BROKERS',
      'SCHEMA_REGISTRY_URL',
    ].entries())
      expect(lines[i]).toMatch(
        new RegExp(`^${variable}: no .* answers at .*${nobody}.*\\. Start it, correct`),
      );
    expect(message.match(/ECONNREFUSED/g)).toHaveLength(4);
    expect(message).not.toContain('hunter2');
  });

  it('are told how an address has to look, once they are asked and not before', async () => {
    const asked = requireAnswers(
      theirs({ DATABASE_URL: 'nonsense', REDIS_URL: 'nonsense', KAFKA_BROKERS: 'foo' }),
    );
    const { message } = (await asked.catch((error: unknown) => error)) as TerminalError;
    expect(message.match(/an address like (postgres|redis|kafka)/g)).toHaveLength(3);
  });

  it('are none where no variable names one', async () => {
    expect(theirs({})).toEqual([]);
    await expect(requireAnswers([])).resolves.toBeUndefined();
  });
});
