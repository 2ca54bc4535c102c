import { readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { BatonError, messageOf } from '#libs/contracts';
import { program } from './program.js';

// `./baton status | head`: the reader has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const manifest = readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8');

try {
  await program((JSON.parse(manifest) as { version: string }).version).parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else {
    process.stderr.write(`${textOf(error)}\n`);
    process.exitCode = 1;
  }
}

/** What is wrong with each field is told as well; of what nobody expected, where it happened. */
function textOf(error: unknown): string {
  if (!(error instanceof BatonError)) return (error as Error).stack ?? messageOf(error);
  return [error.message, ...(error.errors ?? []).map(({ message }) => `  ${message}`)].join('\n');
}
