import { formatCommand } from './kafka-commands.js';

it('a cluster id that begins with a dash is no option', () => {
  const java = { home: '/java', major: 25 };
  const binaries = { java, kafka: '/kafka/*', schemaRegistry: '/registry', archives: '/archives' };
  const { args } = formatCommand(binaries as never, '/format.properties', '-q2ZCZs8KWUUklMNRs4pKw');
  expect(args).toContain('--cluster-id=-q2ZCZs8KWUUklMNRs4pKw');
  expect(args).not.toContain('-q2ZCZs8KWUUklMNRs4pKw');
});
