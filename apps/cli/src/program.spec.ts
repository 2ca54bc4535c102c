import { program } from './program.js';

it('prints its version', async () => {
  let written = '';
  const baton = program('1.2.3').configureOutput({ writeOut: (text) => (written += text) });
  await expect(baton.parseAsync(['node', 'baton', '--version'])).rejects.toMatchObject({ exitCode: 0 });
  expect(written).toBe('1.2.3\n');
});
