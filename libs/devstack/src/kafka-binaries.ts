import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '#libs/chassis';
import { messageOf, TerminalError } from '#libs/contracts';
import { archiveClasses } from './class-archives.js';
import { BatonHome } from './home.js';
import { onPath, requireJava, type Java } from './java.js';
import type { KafkaBinaries } from './kafka-commands.js';
import { withLock } from './lock.js';

/** On a slow line 200 MB take their time. */
const DOWNLOAD_MS = 20 * 60_000;
const TICK_MS = 10_000;

/**
 * Apache Kafka and the Apicurio schema registry as `deploy/kafka/pom.xml` pins them: fetched by Maven into `cache` on first use,
 * once for all who ask at the same time, and used from there afterwards.
 * @param notice gets lines for people while Maven works.
 * @throws TerminalError `kafka-unavailable` that names what is missing, Java or Maven or the network, and the fix.
 */
export async function kafkaBinaries(cache: string, notice: (line: string) => void): Promise<KafkaBinaries> {
  const java = requireJava();
  const folder = folderIn(cache);
  const binaries: KafkaBinaries = {
    java,
    kafka: join(folder, 'kafka', '*'),
    schemaRegistry: join(folder, 'schema-registry'),
    archives: join(folder, `archives-${java.version}-${digest(java.home)}`),
  };
  if (!existsSync(binaries.archives)) {
    if (!existsSync(folder)) requireMaven();
    mkdirSync(cache, { recursive: true });
    await withLock(
      join(cache, 'kafka-binaries.lock'),
      async () => {
        if (!existsSync(folder)) await fetchInto(folder, java, notice);
        if (existsSync(binaries.archives)) return;
        notice('Preparing quick starts of both (once) …');
        await archiveClasses(binaries);
      },
      DOWNLOAD_MS,
    );
  }
  return binaries;
}

/**
 * Why tests that need Kafka are skipped on this machine; null where they run. With `CI` set they always run, and fail with the
 * same reason: there a skipped test would be an unseen one.
 */
export function kafkaSkip(cache: string = BatonHome.fromEnv(process.env).folder): string | null {
  if (process.env['CI']) return null;
  try {
    requireJava();
    if (!existsSync(folderIn(cache))) requireMaven();
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

/** Named by what is in it: another version pinned is another folder. */
function folderIn(cache: string): string {
  return join(cache, `kafka-binaries-${digest(readFileSync(pomFile()))}`);
}

function digest(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex').slice(0, 12);
}

function pomFile(): string {
  return join(projectRoot(), 'deploy/kafka/pom.xml');
}

function requireMaven(): string {
  const maven = onPath('mvn');
  if (maven) return maven;
  throw new TerminalError(
    'kafka-unavailable',
    'Kafka is fetched with Maven, and there is no mvn on the PATH. Install it (Debian, Ubuntu: apt-get install maven; macOS: brew install maven), or set KAFKA_BROKERS and SCHEMA_REGISTRY_URL',
  );
}

/** The name `folder` appears only when everything is in it. */
async function fetchInto(folder: string, java: Java, notice: (line: string) => void): Promise<void> {
  removeDrafts(folder);
  const draft = `${folder}.${process.pid}`;
  mkdirSync(draft, { recursive: true });
  copyFileSync(pomFile(), join(draft, 'pom.xml'));
  notice('Fetching Kafka and its schema registry with Maven (about 200 MB, once) …');
  const start = Date.now();
  const ticker = setInterval(() => notice(`  … ${Math.round((Date.now() - start) / 1000)} s`), TICK_MS);
  try {
    await promisify(execFile)(requireMaven(), ['-B', '-ntp', '-q', 'package'], {
      cwd: draft,
      // Maven must find a Java too, and any of these is new enough for it.
      env: { ...process.env, JAVA_HOME: process.env['JAVA_HOME'] || java.home },
      timeout: DOWNLOAD_MS,
    });
    for (const part of ['kafka', 'schema-registry/quarkus-run.jar'])
      if (!existsSync(join(draft, part))) throw new Error(`Maven has not made ${part}`);
    renameSync(draft, folder);
  } catch (error) {
    throw new TerminalError(
      'kafka-unavailable',
      `Maven could not fetch Kafka:\n${reasonOf(error)}\nMaven Central, or a mirror of it in ~/.m2/settings.xml, must be reachable; or set KAFKA_BROKERS and SCHEMA_REGISTRY_URL`,
      { cause: error },
    );
  } finally {
    clearInterval(ticker);
    rmSync(draft, { recursive: true, force: true });
  }
}

/** What a launcher left that was killed while it fetched. */
function removeDrafts(folder: string): void {
  for (const name of readdirSync(dirname(folder)))
    if (name.startsWith(`${basename(folder)}.`))
      rmSync(join(dirname(folder), name), { recursive: true, force: true });
}

/** Maven's errors stand on its standard output. */
function reasonOf(error: unknown): string {
  const output = (error as { stdout?: string }).stdout?.trim();
  return output ? output.split('\n').slice(0, 8).join('\n') : messageOf(error);
}
