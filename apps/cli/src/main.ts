import { CommanderError } from 'commander';
import { BatonError, messageOf } from '#libs/contracts';
import { program } from './program.js';

try {
  await program().parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else {
    process.stderr.write(
      `${error instanceof BatonError ? error.message : ((error as Error).stack ?? messageOf(error))}\n`,
    );
    process.exitCode = 1;
  }
}
