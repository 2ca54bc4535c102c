import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { kafkaBinaries, kafkaSkip } from './kafka-binaries.js';

describe('kafkaBinaries', () => {
  const { env } = process;
  let folder: string;
  let cache: string;
  let said: string[];
  const fetch = () => kafkaBinaries(cache, (line) => said.push(line));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'baton-maven-'));
    cache = join(folder, 'cache');
    said = [];
    const java = join(folder, 'java');
    mkdirSync(join(java, 'bin'), { recursive: true });
    writeFileSync(join(java, 'bin', 'java'), '', { mode: 0o755 });
    writeFileSync(join(java, 'release'), 'JAVA_VERSION="99"');
    process.env = {
      ...env,
      CI: '',
      JAVA_HOME: java,
      PATH: `${join(folder, 'bin')}${delimiter}/usr/bin${delimiter}/bin`,
    };
  });
  afterEach(() => {
    process.env = env;
    rmSync(folder, { recursive: true });
  });

  /** A Maven that counts its runs and does what `script` says in the folder of the pom.xml. */
  function maven(script: string): void {
    mkdirSync(join(folder, 'bin'), { recursive: true });
    const text = `#!/bin/sh\necho run >>"${folder}/runs"\n${script}\n`;
    writeFileSync(join(folder, 'bin', 'mvn'), text, { mode: 0o755 });
  }
  const runs = () => readFileSync(join(folder, 'runs'), 'utf8').trim().split('\n').length;
  const WORKS = 'test -f pom.xml && mkdir kafka schema-registry && touch schema-registry/quarkus-run.jar';

  it('fetches once for all who ask at once, and never again', async () => {
    maven(`sleep 0.2; ${WORKS}`);
    const [first, second] = await Promise.all([fetch(), fetch()]);
    await fetch();
    expect(runs()).toBe(1);
    expect(second).toEqual(first);
    expect(existsSync(join(first.schemaRegistry, 'quarkus-run.jar'))).toBe(true);
    expect(said).toHaveLength(2);
  });

  it('does not take a half-done download for a whole one', async () => {
    maven('mkdir kafka; echo "[ERROR] Could not transfer artifact" ; exit 1');
    await expect(fetch()).rejects.toMatchObject({
      code: 'kafka-unavailable',
      message: expect.stringContaining('Could not transfer artifact') as string,
    });
    maven('mkdir kafka');
    await expect(fetch()).rejects.toThrow('Maven has not made schema-registry');
    expect(readdirSync(cache)).toEqual([]);

    maven(WORKS);
    await expect(fetch()).resolves.toBeDefined();
  });

  it('clears away what a killed launcher has left', async () => {
    maven(WORKS);
    const { schemaRegistry } = await fetch();
    const whole = join(schemaRegistry, '..');
    rmSync(whole, { recursive: true });
    mkdirSync(`${whole}.12345/kafka`, { recursive: true });
    await fetch();
    expect(existsSync(`${whole}.12345`)).toBe(false);
  });

  it('names what is missing, and skips tests for it everywhere but in CI', async () => {
    process.env['PATH'] = join(folder, 'bin');
    expect(kafkaSkip(cache)).toContain('no mvn on the PATH');
    await expect(fetch()).rejects.toMatchObject({ code: 'kafka-unavailable' });
    process.env['CI'] = 'true';
    expect(kafkaSkip(cache)).toBeNull();
  });
});
