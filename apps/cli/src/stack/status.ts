import pg from 'pg';
import { messageOf } from '#libs/contracts';
import {
  devPort,
  holderOf,
  isRunning,
  pingKafka,
  pingRedis,
  pingSchemaRegistry,
  recordedInfrastructure,
  schemaRegistryUrlAt,
  SERVICES,
  serviceNames,
  type OwnedProcess,
  type PortName,
} from '#libs/devstack';
import { askReady } from './ready.js';
import { changedSettings, Stack } from './stack.js';
import { up, type StatusRow } from './status-row.js';
import { table } from './table.js';
import { registeredTools, toolRows } from './tool-rows.js';

const START = './baton up --detach';
const RESTART = './baton down && ./baton up --kafka';

/** Prints the state of everything; the exit code is 0 when all of the stack is up, whatever tools elsewhere do. */
export async function status(): Promise<number> {
  const stack = new Stack();
  const host = stack.host();
  const rows = await stackRows(stack);
  const tools = host ? await registeredTools(stack, host) : [];
  const hosted = host?.services.map(({ name }) => name) ?? [];
  process.stdout.write(
    table(
      ['', 'state', 'cause', 'fix'],
      [...rows, ...toolRows(tools, hosted)].map((row) => [row.name, row.state, row.cause, row.fix]),
    ),
  );
  if (host) {
    process.stdout.write(
      `\n${host.scripted ? 'The scripted model answers, not a real one.' : 'A real model answers.'}\n`,
    );
    const changed = changedSettings(host, stack);
    if (changed) process.stdout.write(`${changed}\n`);
  }
  return rows.every(({ state }) => state === 'up') ? 0 : 1;
}

/** A line for each server and service of the stack. */
export function stackRows(stack: Stack): Promise<StatusRow[]> {
  return Promise.all([postgresRow(stack), redisRow(stack), ...kafkaRows(stack), ...serviceRows(stack)]);
}

async function postgresRow(stack: Stack): Promise<StatusRow> {
  const own = stack.settings.databaseUrl;
  if (own) return answers('postgres (yours)', 'start it, or correct DATABASE_URL', () => connect(own));
  const running = recordedInfrastructure(stack.home).postgres;
  if (!isRunning(running)) return notRunning('postgres', stack, running);
  return answers('postgres', './baton down && ./baton up', () =>
    connect(`postgres://baton:${stack.home.secret('postgres-password')}@127.0.0.1:${running.port}/baton`),
  );
}

async function redisRow(stack: Stack): Promise<StatusRow> {
  const own = stack.settings.redisUrl;
  if (own) {
    const { hostname, port } = new URL(own);
    return answers('redis (yours)', 'start it, or correct REDIS_URL', () =>
      pingRedis(Number(port || 6379), hostname),
    );
  }
  const running = recordedInfrastructure(stack.home).redis;
  if (!isRunning(running)) return notRunning('redis', stack, running);
  const name = running.kind === 'redis' ? 'redis' : 'redis (JavaScript)';
  return answers(name, './baton down && ./baton up', () => pingRedis(running.port));
}

/** None where the stack does without Kafka. */
function kafkaRows(stack: Stack): Array<Promise<StatusRow>> {
  const { kafkaBrokers, schemaRegistryUrl } = stack.settings;
  const { kafka, schemaRegistry } = recordedInfrastructure(stack.home);
  const own = stack.host()?.ownServers;
  const rows: Array<Promise<StatusRow>> = [];
  if (kafkaBrokers)
    rows.push(answers('kafka (yours)', 'start it, or correct KAFKA_BROKERS', () => pingKafka(kafkaBrokers)));
  else if (isRunning(kafka)) rows.push(answers('kafka', RESTART, () => pingKafka(`127.0.0.1:${kafka.port}`)));
  // A running host tells whether it has Kafka; without one, the record of one that was not stopped does.
  else if (own ? own.kafka : kafka) rows.push(Promise.resolve(notRunning('kafka', stack, kafka)));
  if (schemaRegistryUrl)
    rows.push(
      answers('schema-registry (yours)', 'start it, or correct SCHEMA_REGISTRY_URL', () =>
        pingSchemaRegistry(schemaRegistryUrl),
      ),
    );
  else if (isRunning(schemaRegistry))
    rows.push(
      answers('schema-registry', RESTART, () => pingSchemaRegistry(schemaRegistryUrlAt(schemaRegistry.port))),
    );
  else if (own ? own.schemaRegistry : schemaRegistry)
    rows.push(Promise.resolve(notRunning('schema-registry', stack, schemaRegistry)));
  return rows;
}

async function answers(name: string, fix: string, ask: () => Promise<unknown>): Promise<StatusRow> {
  try {
    await ask();
    return up(name);
  } catch (error) {
    return { name, state: 'down', cause: messageOf(error), fix };
  }
}

async function connect(connectionString: string): Promise<void> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 3000, query_timeout: 3000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
  } finally {
    await client.end().catch(() => undefined);
  }
}

function serviceRows(stack: Stack): Array<Promise<StatusRow>> {
  const host = stack.recordedHost();
  if (!isRunning(host))
    return serviceNames(stack.settings).map((name) => Promise.resolve(notRunning(name, stack, host)));
  return SERVICES.flatMap(({ name }) => host.services.filter((service) => service.name === name)).map(
    async ({ name, url }): Promise<StatusRow> => {
      const { ready, missing } = await askReady(url);
      if (ready) return up(name);
      const [cause, fix] = [missing.map((one) => `${one.name}: ${one.cause}`), missing.map((one) => one.fix)];
      return { name, state: 'not ready', cause: cause.join('; '), fix: [...new Set(fix)].join('; ') };
    },
  );
}

/** Servers that are processes with a record and a log of their own; all else is in the host. */
const SERVER_NAMES: readonly PortName[] = ['postgres', 'redis', 'kafka', 'schema-registry'];

/** @param ended the process that was to be it, when it was started and not stopped */
function notRunning(name: PortName, { settings, home }: Stack, ended: OwnedProcess | null): StatusRow {
  const port = devPort(name, settings.portOffset);
  const holder = holderOf(port);
  if (holder)
    return {
      name,
      state: 'down',
      cause: `port ${port} is taken by ${holder}`,
      fix: 'stop that program, or set another BATON_PORT_OFFSET',
    };
  const fix = name === 'kafka' || name === 'schema-registry' ? `${START} --kafka` : START;
  if (!ended) return { name, state: 'down', cause: 'not started', fix };
  const log = home.path(SERVER_NAMES.includes(name) ? `${name}.log` : 'host.log');
  return {
    name,
    state: 'crashed',
    cause: `process ${ended.pid} stopped unexpectedly, see ${log}`,
    fix,
  };
}
