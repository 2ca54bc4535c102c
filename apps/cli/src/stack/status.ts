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
  type ServerName,
} from '#libs/devstack';
import { askReady } from './ready.js';
import { changedSettings, Stack } from './stack.js';
import { hostOf, up, type StatusRow } from './status-row.js';
import { table } from './table.js';
import { askPostgres, theirServers } from './their-servers.js';
import { registeredTools, toolRows } from './tool-rows.js';

const START = './baton up --detach';

/** Prints the state of everything; the exit code is 0 when all of the stack is up, whatever tools elsewhere do. */
export async function status(): Promise<number> {
  const stack = new Stack();
  const host = stack.host();
  const rows = await stackRows(stack);
  const tools = host ? await registeredTools(stack, host) : [];
  const hosted = host?.services.map(({ name }) => name) ?? [];
  process.stdout.write(
    table(
      ['', 'state', 'address', 'cause', 'fix'],
      [...rows, ...toolRows(tools, hosted)].map((row) => [
        row.name,
        row.state,
        row.address,
        row.cause,
        row.fix,
      ]),
    ),
  );
  if (host) {
    process.stdout.write(
      `\n${host.scripted ? 'The scripted model answers, not a real one.' : modelLine(rows)}\n`,
    );
    const changed = changedSettings(host, stack);
    if (changed) process.stdout.write(`${changed}\n`);
  }
  return rows.every(({ state }) => state === 'up') ? 0 : 1;
}

/** A line for each server and service of the stack. */
export function stackRows(stack: Stack): Promise<StatusRow[]> {
  return Promise.all([...serverRows(stack), ...serviceRows(stack)]);
}

/** Whether the real model answers, as the agents know it; each asks in the background. */
export function modelLine(rows: StatusRow[]): string {
  const reached = rows.filter(
    ({ name, state, missing = [] }) =>
      name.startsWith('agent-') && (state === 'up' || missing.some((one) => one.name !== 'service')),
  );
  if (reached.length === 0) return 'Whether the real model answers is not known: no agent does.';
  const away = reached.flatMap(({ missing = [] }) => missing).find(({ name }) => name === 'model');
  return away ? `The real model does not answer: ${away.cause}. To do: ${away.fix}` : 'A real model answers.';
}

/** Servers that are processes with a record and a log of their own; all else is in the host. */
const OWN_SERVERS = {
  postgres: {
    record: 'postgres',
    ask: ({ port }, { home }) =>
      askPostgres(`postgres://baton:${home.secret('postgres-password')}@127.0.0.1:${port}/baton`),
  },
  redis: { record: 'redis', ask: ({ port }) => pingRedis(port) },
  kafka: { record: 'kafka', ask: ({ port }) => pingKafka(`127.0.0.1:${port}`) },
  'schema-registry': {
    record: 'schemaRegistry',
    ask: ({ port }) => pingSchemaRegistry(schemaRegistryUrlAt(port)),
  },
} satisfies Partial<Record<PortName, OwnServer>>;

interface OwnServer {
  record: ServerName;
  ask: (server: { port: number }, stack: Stack) => Promise<unknown>;
}

const needsKafkaFlag = (name: PortName) => name === 'kafka' || name === 'schema-registry';

function serverRows(stack: Stack): Array<Promise<StatusRow>> {
  const theirs = theirServers(stack.settings, stack.env);
  return (Object.keys(OWN_SERVERS) as Array<keyof typeof OWN_SERVERS>).flatMap((name) => {
    const their = theirs.find((one) => one.name === name);
    if (!their) return ownServerRow(name, OWN_SERVERS[name], stack);
    const { address, variable, ask } = their;
    return [answers(`${name} (yours)`, hostOf(address), `start it, or correct ${variable}`, ask)];
  });
}

/** None for Kafka and its registry where the stack does without. */
function ownServerRow(name: PortName, { record, ask }: OwnServer, stack: Stack): Array<Promise<StatusRow>> {
  const recorded = recordedInfrastructure(stack.home)[record];
  if (isRunning(recorded)) {
    const label = 'kind' in recorded && recorded.kind !== 'redis' ? `${name} (JavaScript)` : name;
    const restart = `./baton down && ./baton up${needsKafkaFlag(name) ? ' --kafka' : ''}`;
    return [answers(label, `127.0.0.1:${recorded.port}`, restart, () => ask(recorded, stack))];
  }
  const own = stack.host()?.ownServers;
  // A running host tells whether it has Kafka; without one, the record of one that was not stopped does.
  if (needsKafkaFlag(name) && !(own ? own[record] : recorded)) return [];
  return [Promise.resolve(notRunning(name, stack, recorded))];
}

async function answers(
  name: string,
  address: string,
  fix: string,
  ask: () => Promise<unknown>,
): Promise<StatusRow> {
  try {
    await ask();
    return up(name, address);
  } catch (error) {
    return { name, address, state: 'down', cause: messageOf(error), fix };
  }
}

function serviceRows(stack: Stack): Array<Promise<StatusRow>> {
  const host = stack.recordedHost();
  if (!isRunning(host))
    return serviceNames(stack.settings).map((name) => Promise.resolve(notRunning(name, stack, host)));
  return SERVICES.flatMap(({ name }) => host.services.filter((service) => service.name === name)).map(
    async ({ name, url }): Promise<StatusRow> => {
      const { ready, missing } = await askReady(url);
      const address = hostOf(url);
      if (ready) return up(name, address);
      const [cause, fix] = [missing.map((one) => `${one.name}: ${one.cause}`), missing.map((one) => one.fix)];
      return {
        name,
        address,
        state: 'not ready',
        cause: cause.join('; '),
        fix: [...new Set(fix)].join('; '),
        missing,
      };
    },
  );
}

/** @param ended the process that was to be it, when it was started and not stopped */
function notRunning(name: PortName, stack: Stack, ended: OwnedProcess | null): StatusRow {
  const { settings, home } = stack;
  const port = devPort(name, settings.portOffset);
  const address = `127.0.0.1:${port}`;
  if (stack.startingHost())
    return {
      name,
      address,
      state: 'starting',
      cause: 'the background process starts it',
      fix: 'wait a moment',
    };
  const holder = holderOf(port);
  if (holder)
    return {
      name,
      address,
      state: 'down',
      cause: `port ${port} is taken by ${holder}`,
      fix: 'stop that program, or set another BATON_PORT_OFFSET',
    };
  const fix = needsKafkaFlag(name) ? `${START} --kafka` : START;
  if (!ended) return { name, address, state: 'down', cause: 'not started', fix };
  const log = home.path(name in OWN_SERVERS ? `${name}.log` : 'host.log');
  return {
    name,
    address,
    state: 'crashed',
    cause: `process ${ended.pid} stopped unexpectedly, see ${log}`,
    fix,
  };
}
