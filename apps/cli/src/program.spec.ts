import { program } from './program.js';

it('prints its version', async () => {
  let written = '';
  const baton = program('1.2.3').configureOutput({ writeOut: (text) => (written += text) });
  await expect(baton.parseAsync(['node', 'baton', '--version'])).rejects.toMatchObject({ exitCode: 0 });
  expect(written).toBe('1.2.3\n');
});

it.each([
  [['knowledge', 'add', ''], 'The path is empty'],
  [['knowledge', 'remove', ' '], 'The path is empty'],
  [['run', '--agent', '', 'hello'], 'A name has letters'],
  [['run', '--agent', '..', 'hello'], 'A name has letters'],
])('refuses %j', async (args, reason) => {
  let written = '';
  const baton = program('1.2.3');
  const quiet = (command: typeof baton) => {
    command.exitOverride().configureOutput({ writeErr: (text) => (written += text) });
    command.commands.forEach(quiet);
  };
  quiet(baton);
  await expect(baton.parseAsync(['node', 'baton', ...args])).rejects.toMatchObject({ exitCode: 1 });
  expect(written).toContain(reason);
});
