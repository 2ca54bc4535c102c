import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requireJava } from './java.js';

describe('requireJava', () => {
  let folder: string;
  beforeEach(() => (folder = realpathSync(mkdtempSync(join(tmpdir(), 'baton-java-')))));
  afterEach(() => rmSync(folder, { recursive: true }));

  /** A folder that looks like a Java; without a file `release` its program must say its version. */
  function java(name: string, version: string | null, program = ''): string {
    const home = join(folder, name);
    mkdirSync(join(home, 'bin'), { recursive: true });
    writeFileSync(join(home, 'bin', 'java'), `#!/bin/sh\n${program}\n`, { mode: 0o755 });
    if (version) writeFileSync(join(home, 'release'), `IMPLEMENTOR="x"\nJAVA_VERSION="${version}"\n`);
    return home;
  }

  it('takes the newest of all places', () => {
    const onPath = java('path/17', '17.0.15');
    const env = { JAVA_HOME: java('home/21', '21.0.2'), PATH: `/nowhere:${join(onPath, 'bin')}` };
    expect(requireJava(env, join(folder, 'none')).version).toBe(21);
    java('jvm/temurin-25', '25.0.3');
    java('jvm/openjdk-8', '1.8.0_402');
    expect(requireJava(env, join(folder, 'jvm'))).toEqual({
      home: join(folder, 'jvm/temurin-25'),
      version: 25,
    });
  });

  it('follows the link that a PATH has', () => {
    const home = java('real', '25');
    mkdirSync(join(folder, 'links'));
    symlinkSync(join(home, 'bin', 'java'), join(folder, 'links', 'java'));
    expect(requireJava({ PATH: join(folder, 'links') }, folder + '/none').home).toBe(home);
  });

  it('asks a Java that has no file of its release', () => {
    const home = java('bare', null, 'echo "openjdk 24.0.1 2026-01-01"');
    expect(requireJava({ JAVA_HOME: home }, folder + '/none').version).toBe(24);
  });

  it('says which Javas there are when none is new enough', () => {
    const home = java('17', '17.0.15');
    const attempt = () => requireJava({ JAVA_HOME: home }, folder + '/none');
    expect(attempt).toThrow(expect.objectContaining({ code: 'kafka-unavailable' }));
    expect(attempt).toThrow(`found Java 17 in ${home}`);
  });

  it('does not take for a Java what only pretends to be one', () => {
    const home = java('placeholder', null, 'exit 1');
    expect(() => requireJava({ JAVA_HOME: home }, folder + '/none')).toThrow('found no Java');
  });
});
