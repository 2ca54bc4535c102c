import { Command, InvalidArgumentError, Option } from 'commander';
import { SUITES } from './checks/suites.js';
import type { CreateOptions } from './identity/keys.js';

/** A variable that is not set in a shell must not stand for the folder one is in. */
function pathOf(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('The path is empty.');
  return text;
}

function agentName(text: string): string {
  if (!/^[\w-]+$/.test(text))
    throw new InvalidArgumentError(
      'A name has letters, digits and hyphens: ./baton status shows the agents.',
    );
  return text;
}

/** The commands load their code when they are called: `--help` and `run` on a running stack stay quick. */
export function program(version: string): Command {
  const baton = new Command('baton')
    .version(version, '--version', 'print the version')
    .description('Micro agents as services: a task accepted is a task finished.')
    .showHelpAfterError('(./baton --help shows all commands)')
    .enablePositionalOptions()
    .exitOverride();
  stackCommands(baton);
  taskCommands(baton);
  keyCommands(baton);
  checkCommands(baton);
  return baton;
}

function stackCommands(baton: Command): void {
  baton
    .command('up')
    .description('start Postgres, Redis and all services on this machine')
    .option('--detach', 'leave them running in the background')
    .option('--kafka', 'with Kafka and a schema registry: hand-offs go over Kafka (needs Java 21 and Maven)')
    .action(async ({ detach, kafka }: { detach?: boolean; kafka?: boolean }) => {
      const { up } = await import('./stack/up.js');
      await up({ detach: detach === true, kafka: kafka === true });
    });
  baton
    .command('status')
    .description('show each service and dependency: state, cause, fix')
    .action(async () => {
      const { status } = await import('./stack/status.js');
      process.exitCode = await status();
    });
  baton
    .command('down')
    .description('stop what up started, and only that')
    .action(async () => {
      const { down } = await import('./stack/down.js');
      await down();
    });
  baton
    .command('token')
    .description("print a developer's token, valid for 24 hours; starts what is not up")
    .option('--audience <names>', 'services that accept it, separated by commas')
    .action(async ({ audience }: { audience?: string }) => {
      const { printToken } = await import('./stack/token.js');
      await printToken(audience);
    });
  baton
    .command('host', { hidden: true })
    .option('--kafka')
    .action(async ({ kafka }: { kafka?: boolean }) => {
      const { hostDetached } = await import('./stack/host.js');
      await hostDetached(kafka === true);
    });
}

function taskCommands(baton: Command): void {
  baton
    .command('run')
    .description('give an agent a task and follow it to its end; starts what is not up')
    .argument('<prompt...>', 'what to do; - reads it from standard input')
    .addOption(new Option('--agent <name>', 'the agent').default('search').argParser(agentName))
    .option('--json', 'print the result object alone')
    .action(async (words: string[], options: { agent: string; json?: boolean }) => {
      const { run } = await import('./task/run.js');
      process.exitCode = await run({ words, agent: options.agent, json: options.json === true });
    });
  const knowledge = baton
    .command('knowledge')
    .description('documents that the knowledge tools find; starts what is not up');
  knowledge
    .command('add')
    .description('index a Markdown or text file, or all of a folder')
    .argument('<path>', 'of the file or folder', pathOf)
    .action(async (path: string) => {
      const { addKnowledge } = await import('./knowledge/knowledge.js');
      await addKnowledge(path);
    });
  knowledge
    .command('list')
    .description('show what is indexed')
    .action(async () => {
      const { listKnowledge } = await import('./knowledge/knowledge.js');
      await listKnowledge();
    });
  knowledge
    .command('remove')
    .description('take a document, or all of a folder, out of the index; the files stay')
    .argument('<path>', 'as list shows it, or a file or folder', pathOf)
    .action(async (path: string) => {
      const { removeKnowledge } = await import('./knowledge/knowledge.js');
      await removeKnowledge(path);
    });
}

function keyCommands(baton: Command): void {
  const keys = baton.command('keys').description('API keys of users and tenants; starts what is not up');
  keys
    .command('create')
    .description('make a key; it is printed this one time')
    .option('--user <id>', "whose key it is; without it the key is the tenant's")
    .option('--tenant <id>', 'default: dev')
    .option('--scope <name...>', 'tasks:read, tasks:write, admin (default: the first two)')
    .option('--expires <time>', 'e.g. 90m, 12h, 30d, or a date (default: never)')
    .option('--name <text>', 'what it is for')
    .option('--json', 'print the whole answer')
    .action(async ({ scope = [], ...options }: Partial<CreateOptions>) => {
      const { createKey } = await import('./identity/keys.js');
      await createKey({ ...options, scope });
    });
  keys
    .command('list')
    .description('show all keys, without their secrets')
    .option('--tenant <id>', 'of this tenant alone')
    .option('--json', 'print a JSON list')
    .action(async (options: { tenant?: string; json?: boolean }) => {
      const { listKeys } = await import('./identity/keys.js');
      await listKeys(options);
    });
  keys
    .command('revoke')
    .description('let a key open nothing any more')
    .argument('<id>')
    .action(async (id: string) => {
      const { revokeKey } = await import('./identity/keys.js');
      await revokeKey(id);
    });
}

function checkCommands(baton: Command): void {
  baton
    .command('test')
    .description(`run the tests: ${SUITES.join(', ')}, or all`)
    .argument('[args...]', 'a suite, then arguments of Jest')
    .allowUnknownOption()
    .passThroughOptions()
    .helpOption(false)
    .action(async (args: string[]) => {
      const { test } = await import('./checks/test.js');
      process.exitCode = await test(args);
    });
  baton
    .command('verify')
    .description('check format, lint, types, boundaries and tests, as CI does')
    .option('--static', 'leave the tests out')
    .action(async (options: { static?: boolean }) => {
      const { verify } = await import('./checks/verify.js');
      process.exitCode = await verify(options.static === true);
    });
  baton
    .command('bench')
    .description('measure against a bare queue worker (--only NAME, --json FILE)')
    .argument('[args...]')
    .allowUnknownOption()
    .passThroughOptions()
    .helpOption(false)
    .action(async (args: string[]) => {
      const { bench } = await import('./checks/bench.js');
      process.exitCode = await bench(args);
    });
}
