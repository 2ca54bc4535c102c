import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '#libs/chassis';
import { javaProgram, type Java } from './java.js';

/** Programs for a broker and a schema registry, and the Java that runs them. */
export interface KafkaBinaries {
  java: Java;
  /** Class path of the broker and its tools. */
  kafka: string;
  /** Folder of the schema registry. */
  schemaRegistry: string;
  /** Folder of the archives of their classes, which halve the work of a start; it may be empty. */
  archives: string;
}

/** A program with its arguments. */
export interface Command {
  command: string;
  args: string[];
}

/** Quick to start and small, for a broker with little to do. */
const JVM = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
const LOGGING = () =>
  `-Dlog4j2.configurationFile=file:${join(projectRoot(), 'deploy/kafka/log4j2.properties')}`;

/** Runs a node with this configuration. */
export function brokerCommand(binaries: KafkaBinaries, config: string): Command {
  const jvm = ['-Xms96m', LOGGING(), ...archived(binaries, 'kafka')];
  return java(binaries, [...jvm, '-cp', binaries.kafka, 'kafka.Kafka', config]);
}

/** Makes the folder of data that the configuration names. */
export function formatCommand(binaries: KafkaBinaries, config: string, clusterId: string): Command {
  // An id may begin with a dash.
  const options = ['format', `--cluster-id=${clusterId}`, '--config', config];
  const jvm = [LOGGING(), ...archived(binaries, 'kafka')];
  return java(binaries, [...jvm, '-cp', binaries.kafka, 'kafka.tools.StorageTool', ...options]);
}

/** Runs a schema registry on this port of 127.0.0.1, its data in the folder `data`. */
export function registryCommand(binaries: KafkaBinaries, port: number, data: string): Command {
  const properties = {
    'quarkus.http.host': '127.0.0.1',
    'quarkus.http.port': port,
    // Its second port, for health and metrics, would be 9000 on every address.
    'quarkus.management.host': '127.0.0.1',
    'quarkus.management.port': 0,
    'quarkus.log.level': 'WARN',
    'quarkus.http.access-log.enabled': false,
    // By default the database writes half a second after it has answered.
    'apicurio.datasource.url': `jdbc:h2:file:${join(data, 'registry')};WRITE_DELAY=0`,
  };
  return java(binaries, [
    ...archived(binaries, 'schema-registry'),
    ...Object.entries(properties).map(([name, value]) => `-D${name}=${value}`),
    ...['-jar', join(binaries.schemaRegistry, 'quarkus-run.jar')],
  ]);
}

export function archiveFile(archives: string, of: 'kafka' | 'schema-registry'): string {
  return join(archives, `${of}.jsa`);
}

/** An archive of another Java, or a damaged one, Java itself leaves aside. */
function archived({ archives }: KafkaBinaries, of: 'kafka' | 'schema-registry'): string[] {
  const file = archiveFile(archives, of);
  return existsSync(file) ? [`-XX:SharedArchiveFile=${file}`] : [];
}

function java(binaries: KafkaBinaries, args: string[]): Command {
  return { command: javaProgram(binaries.java), args: [...JVM, ...args] };
}
