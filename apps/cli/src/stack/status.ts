import pg from 'pg';
import { messageOf } from '#libs/contracts';
import {
  devPort,
  holderOf,
  pingKafka,
  pingRedis,
  pingSchemaRegistry,
  runningInfrastructure,
  schemaRegistryUrlAt,
  SERVICES,
  serviceNames,
} from '#libs/devstack';
import { askReady } from './ready.js';
import { changedSettings, Stack, type HostRecord } from './stack.js';
import { up, type StatusRow } from './status-row.js';
import { table } from './table.js';
import { registeredTools, toolRows } from './tool-rows.js';

const START = './baton up --detach';
const RESTART = './baton down && ./baton up --kafka';

/** Prints the state of everything; the exit code is 0 when all of the stack is up, whatever tools elsewhere do. */
export async function status(): Promise<number> {
  const stack = new Stack();
  const host = stack.host();
  const rows = await Promise.all([
    postgresRow(stack),
    redisRow(stack),
    ...kafkaRows(stack, host),
    ...serviceRows(stack, host),
  ]);
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

async function postgresRow(stack: Stack): Promise<StatusRow> {
  const own = stack.settings.databaseUrl;
  if (own) return answers('postgres (yours)', 'start it, or correct DATABASE_URL', () => connect(own));
  const running = runningInfrastructure(stack.home).postgres;
  if (!running) return notStarted('postgres', stack.settings.portOffset);
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
  const running = runningInfrastructure(stack.home).redis;
  if (!running) return notStarted('redis', stack.settings.portOffset);
  const name = running.kind === 'redis' ? 'redis' : 'redis (JavaScript)';
  return answers(name, './baton down && ./baton up', () => pingRedis(running.port));
}

/** None where the stack does without Kafka. */
function kafkaRows(stack: Stack, host: HostRecord | null): Array<Promise<StatusRow>> {
  const { kafkaBrokers, schemaRegistryUrl } = stack.settings;
  const { kafka, schemaRegistry } = runningInfrastructure(stack.home);
  const rows: Array<Promise<StatusRow>> = [];
  if (kafkaBrokers)
    rows.push(answers('kafka (yours)', 'start it, or correct KAFKA_BROKERS', () => pingKafka(kafkaBrokers)));
  else if (kafka) rows.push(answers('kafka', RESTART, () => pingKafka(`127.0.0.1:${kafka.port}`)));
  else if (host?.ownServers.kafka) rows.push(Promise.resolve(ended('kafka')));
  if (schemaRegistryUrl)
    rows.push(
      answers('schema-registry (yours)', 'start it, or correct SCHEMA_REGISTRY_URL', () =>
        pingSchemaRegistry(schemaRegistryUrl),
      ),
    );
  else if (schemaRegistry)
    rows.push(
      answers('schema-registry', RESTART, () => pingSchemaRegistry(schemaRegistryUrlAt(schemaRegistry.port))),
    );
  else if (host?.ownServers.schemaRegistry) rows.push(Promise.resolve(ended('schema-registry')));
  return rows;
}

/** `up` on a running stack starts again what has died. */
const ended = (name: string): StatusRow => ({ name, state: 'down', cause: 'it has ended', fix: START });

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

function serviceRows(stack: Stack, host: HostRecord | null): Array<Promise<StatusRow>> {
  if (!host)
    return serviceNames(stack.settings).map((name) =>
      Promise.resolve(notStarted(name, stack.settings.portOffset)),
    );
  return SERVICES.flatMap(({ name }) => host.services.filter((service) => service.name === name)).map(
    async ({ name, url }): Promise<StatusRow> => {
      const { ready, missing } = await askReady(url);
      if (ready) return up(name);
      const [cause, fix] = [missing.map((one) => `${one.name}: ${one.cause}`), missing.map((one) => one.fix)];
      return { name, state: 'not ready', cause: cause.join('; '), fix: [...new Set(fix)].join('; ') };
    },
  );
}

function notStarted(name: Parameters<typeof devPort>[0], offset: number): StatusRow {
  const port = devPort(name, offset);
  const holder = holderOf(port);
  if (!holder) return { name, state: 'down', cause: 'not started', fix: START };
  return {
    name,
    state: 'down',
    cause: `port ${port} is taken by ${holder}`,
    fix: 'stop that program, or set another BATON_PORT_OFFSET',
  };
}
