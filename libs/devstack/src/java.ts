import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import type { Env } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';

/** A Java on this machine. */
export interface Java {
  /** Its JAVA_HOME. */
  home: string;
  /** Major version, e.g. 25. */
  version: number;
}

/** What the schema registry needs; Kafka would run on 17. */
const OLDEST = 21;
/** Where Linux distributions put theirs. */
const LINUX_JAVAS = '/usr/lib/jvm';

/**
 * The newest Java: the one on the PATH may be older than one that is installed beside it.
 * @param env says where to look: `JAVA_HOME`, `PATH`. @param linuxJavas folder with one Java per folder.
 * @throws TerminalError `kafka-unavailable` that names the Javas found and the fix when none is new enough.
 */
export function requireJava(env: Env = process.env, linuxJavas: string = LINUX_JAVAS): Java {
  const found = installedJavas(env, linuxJavas).sort((a, b) => b.version - a.version);
  const newest = found[0];
  if (newest && newest.version >= OLDEST) return newest;
  const seen = found.map(({ home, version }) => `Java ${version} in ${home}`).join(', ') || 'no Java';
  throw new TerminalError(
    'kafka-unavailable',
    `Kafka and its schema registry need Java ${OLDEST} or newer; found ${seen}. Install one (Debian, Ubuntu: apt-get install openjdk-${OLDEST}-jre-headless; macOS: brew install openjdk; or https://adoptium.net) and set JAVA_HOME where it is not found by itself; or set KAFKA_BROKERS and SCHEMA_REGISTRY_URL`,
  );
}

/** The program of a Java. */
export function javaProgram({ home }: Java): string {
  return join(home, 'bin', 'java');
}

/** The first file of this name on the PATH; null when there is none. */
export function onPath(program: string, env: Env = process.env): string | null {
  const folders = (env['PATH'] ?? '').split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, program)).find((file) => existsSync(file)) ?? null;
}

function installedJavas(env: Env, linuxJavas: string): Java[] {
  const homes = [env['JAVA_HOME'], homeOnPath(env), ...foldersOf(linuxJavas), macHome()].filter(
    (home): home is string => Boolean(home) && existsSync(join(home!, 'bin', 'java')),
  );
  return [...new Set(homes.map((home) => realpathSync(home)))].flatMap((home) => {
    const version = versionOf(home);
    return version === null ? [] : [{ home, version }];
  });
}

function homeOnPath(env: Env): string | null {
  const java = onPath('java', env);
  return java && dirname(dirname(realpathSync(java)));
}

function foldersOf(parent: string): string[] {
  try {
    return readdirSync(parent).map((name) => join(parent, name));
  } catch {
    return [];
  }
}

/** macOS tells where its Javas are by a program of its own. */
function macHome(): string | null {
  return process.platform === 'darwin'
    ? output('/usr/libexec/java_home', ['-v', `${OLDEST}+`])?.trim() || null
    : null;
}

/** Every Java since 9 has a file `release`; one without it is asked. Null for what is no Java, e.g. macOS' placeholder. */
function versionOf(home: string): number | null {
  const text = released(home) ?? output(join(home, 'bin', 'java'), ['--version']);
  // JAVA_VERSION="25.0.3"; openjdk 25.0.3 2026-04-21; 1.8.0_402 of old.
  const version = /(?:JAVA_VERSION="|^\S+ )(?:1\.)?(\d+)/m.exec(text ?? '')?.[1];
  return version ? Number(version) : null;
}

function released(home: string): string | null {
  try {
    return readFileSync(join(home, 'release'), 'utf8');
  } catch {
    return null;
  }
}

function output(program: string, args: string[]): string | null {
  try {
    return execFileSync(program, args, {
      encoding: 'utf8',
      timeout: 10_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return null;
  }
}
