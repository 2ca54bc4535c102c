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
    process.stderr.write(
      `${error instanceof BatonError ? error.message : ((error as Error).stack ?? messageOf(error))}\n`,
    );
    process.exitCode = 1;
  }
}
