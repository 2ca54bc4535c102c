import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import {
  BatonHome,
  isRunning,
  readSettings,
  withoutOwnAddresses,
  type OwnedProcess,
  type OwnServers,
  type ServiceName,
  type StackSettings,
} from '#libs/devstack';
import { projectRoot, type Env } from '#libs/chassis';

/** The process that hosts the services, as it describes itself in `BATON_HOME`. */
export interface HostRecord extends OwnedProcess {
  portOffset: number;
  services: Array<{ name: ServiceName; url: string }>;
  /** Digests of the settings with which it was started, to tell when they have changed. */
  settings: SettingsDigest;
  scripted: boolean;
  /** Servers that the stack runs itself; the others are the user's. */
  ownServers: OwnServers;
  /** Null, or absent in the record of an older Baton: the services do without. */
  kafkaBrokers?: string | null;
  schemaRegistryUrl?: string | null;
}

export type SettingsDigest = Record<
  'model' | 'database' | 'redis' | 'kafka' | 'schemaRegistry' | 'secret' | 'build',
  string
>;

const HOST_RECORD = 'host';
const STARTING_RECORD = 'host-starting';

/** One stack on this machine, as the environment describes it. */
export class Stack {
  readonly home: BatonHome;
  readonly settings: StackSettings;
  /** Of it the secrets of all clients of the identity service are made. */
  readonly secret: string;

  constructor(readonly env: Env = process.env) {
    this.home = BatonHome.fromEnv(env);
    this.settings = withoutOwnAddresses(readSettings(env), this.home);
    this.secret = env['BATON_STACK_SECRET'] || this.home.secret('stack-secret');
  }

  /** The host that was started and not stopped; one that does not run any more has crashed. */
  recordedHost(): HostRecord | null {
    return this.home.read<HostRecord>(HOST_RECORD);
  }

  /** The running host; null when there is none. */
  host(): HostRecord | null {
    const record = this.recordedHost();
    return isRunning(record) ? record : null;
  }

  /** Whether a host that is started now has Kafka: it was asked for, or that of a host which has crashed. */
  hasKafka(asked: boolean): boolean {
    const { ownServers } = this.recordedHost() ?? {};
    return asked || Boolean(ownServers?.kafka || ownServers?.schemaRegistry);
  }

  recordHost(record: HostRecord): void {
    this.home.write(HOST_RECORD, record);
    this.home.forget(STARTING_RECORD);
  }

  /** A background host on its way up, whoever started it; null when there is none. */
  startingHost(): OwnedProcess | null {
    const record = this.home.read<OwnedProcess>(STARTING_RECORD);
    return isRunning(record) && !this.host() ? record : null;
  }

  recordStarting(host: OwnedProcess): void {
    this.home.write(STARTING_RECORD, host);
  }

  forgetHost(): void {
    this.home.forget(HOST_RECORD);
  }

  settingsDigest(): SettingsDigest {
    const { model, databaseUrl, redisUrl, kafkaBrokers, schemaRegistryUrl } = this.settings;
    return {
      model: digest(model),
      database: digest(databaseUrl),
      redis: digest(redisUrl),
      kafka: digest(kafkaBrokers),
      schemaRegistry: digest(schemaRegistryUrl),
      secret: digest(this.secret),
      build: digest(builtAt()),
    };
  }
}

/** When the running code was built: a host from before runs older code. */
function builtAt(): number {
  return statSync(join(projectRoot(), 'dist', '.built'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** A digest, because the settings hold keys and passwords. */
function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

/** The address of a service of the running host. @throws Error when it hosts no such service. */
export function urlOf(host: Pick<HostRecord, 'services'>, name: ServiceName): string {
  const service = host.services.find((one) => one.name === name);
  if (!service) throw new Error(`The running host has no ${name}`);
  return service.url;
}

const SETTING_NAMES: ReadonlyArray<[keyof SettingsDigest, string]> = [
  ['model', 'model'],
  ['database', 'DATABASE_URL'],
  ['redis', 'REDIS_URL'],
  ['kafka', 'KAFKA_BROKERS'],
  ['schemaRegistry', 'SCHEMA_REGISTRY_URL'],
  ['build', 'build'],
];

/** What a person is told whose environment differs from the one with which the host was started; null when it is the same. */
export function changedSettings(
  host: Pick<HostRecord, 'settings' | 'portOffset'>,
  stack: Stack,
): string | null {
  const now = stack.settingsDigest();
  const changed = SETTING_NAMES.filter(([key]) => now[key] !== host.settings[key]).map(([, name]) => name);
  if (stack.env['BATON_PORT_OFFSET'] !== undefined && stack.settings.portOffset !== host.portOffset)
    changed.push('BATON_PORT_OFFSET');
  if (changed.length === 0) return null;
  return `Baton was started with another ${changed.join(', ')} than this shell has. To change: ./baton down && ./baton up`;
}
