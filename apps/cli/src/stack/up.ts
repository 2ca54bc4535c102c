import { stopOnSignal } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';
import { devPort, kafkaBinaries, ownServers, withLock } from '#libs/devstack';
import { developerToken } from '../identity/developer.js';
import { ensureHost } from './detach.js';
import { hostStack } from './host.js';
import { starting } from './labels.js';
import { changedSettings, Stack, type HostRecord } from './stack.js';
import { summary } from './summary.js';

export interface UpOptions {
  /** In the background. */
  detach: boolean;
  /** With Kafka and a schema registry, so that hand-offs go over Kafka. */
  kafka: boolean;
}

/**
 * Starts the stack and prints how to use it; a stack that is up is only described.
 * @throws TerminalError `kafka-not-in-stack` when Kafka is asked for and the stack that is up has none.
 */
export async function up({ detach, kafka }: UpOptions): Promise<void> {
  const stack = new Stack();
  const wasUp = stack.host() !== null;
  if (!wasUp && stack.hasKafka(kafka)) await fetchKafka(stack);
  if (!wasUp && !detach) return upInForeground(stack, kafka);
  const host = await ensureHost(stack, kafka, notice);
  if (!wasUp)
    await describe(
      stack,
      host,
      `Baton is up in the background (process ${host.pid}; log ${stack.home.path('host.log')}; ./baton down stops it).`,
    );
  else await describeRunning(stack, host);
  if (kafka) requireKafka(host);
}

/** Before anything is locked or waited for: the first time, it takes as long as the line is slow. */
async function fetchKafka({ settings, home }: Stack): Promise<void> {
  const own = ownServers(settings, true);
  if (own.kafka || own.schemaRegistry) await kafkaBinaries(home.folder, notice);
}

async function upInForeground(stack: Stack, kafka: boolean): Promise<void> {
  const withKafka = stack.hasKafka(kafka);
  notice(starting(withKafka));
  const quiet = new Stack({ ...stack.env, LOG_LEVEL: stack.env['LOG_LEVEL'] ?? 'warn' });
  const hosting = withLock(stack.home.path('up.lock'), async () =>
    stack.host() ? null : hostStack(quiet, withKafka, notice),
  );
  let isStopping = false;
  stopOnSignal(async () => {
    isStopping = true;
    notice('Stopping …');
    const hosted = await hosting;
    await hosted?.services.stop();
    if (hosted) stack.forgetHost();
    await hosted?.infrastructure.stop();
  });
  const hosted = await hosting;
  if (isStopping) return;
  if (hosted) await describe(stack, hosted.record, 'Baton is up. Ctrl-C stops it.');
  else await describeRunning(stack, stack.host()!);
  if (kafka) requireKafka(hosted?.record ?? stack.host()!);
}

async function describeRunning(stack: Stack, host: HostRecord): Promise<void> {
  await describe(stack, host, `Baton is up already (process ${host.pid}).`);
  const changed = changedSettings(host, stack);
  if (changed) notice(changed);
}

/** The stack was up before, or another call was quicker. */
function requireKafka(host: HostRecord): void {
  if (!host.kafkaBrokers)
    throw new TerminalError(
      'kafka-not-in-stack',
      'The running stack has no Kafka. To have it: ./baton down && ./baton up --kafka',
    );
}

async function describe(stack: Stack, host: HostRecord, title: string): Promise<void> {
  const token = await developerToken(stack, host);
  const { settings } = stack;
  const { portOffset, ownServers: owned } = host;
  process.stdout.write(
    summary({
      title,
      host,
      databaseUrl: owned.postgres
        ? `postgres://127.0.0.1:${devPort('postgres', portOffset)}/baton`
        : (settings.databaseUrl ?? 'yours'),
      redisUrl: owned.redis
        ? `redis://127.0.0.1:${devPort('redis', portOffset)}`
        : (settings.redisUrl ?? 'yours'),
      kafkaBrokers: host.kafkaBrokers ?? null,
      schemaRegistryUrl: host.schemaRegistryUrl ?? null,
      token,
    }),
  );
}

function notice(line: string): void {
  process.stderr.write(`${line}\n`);
}
