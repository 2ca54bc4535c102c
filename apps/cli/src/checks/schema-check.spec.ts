import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SCHEMA_FOLDER } from '#libs/messaging';
import { earlierCommit } from './earlier-commit.js';
import { checkSchemas, schemaBreaks } from './schema-check.js';

const schema = (...fields: object[]) => JSON.stringify({ type: 'record', name: 'R', fields });
const text = { name: 'a', type: 'string' };

describe('the check of the Avro schemas', () => {
  it.each([
    ['nothing changed', { r: schema(text) }, { r: schema(text) }, []],
    ['a schema is new', {}, { r: schema(text) }, []],
    ['a field with a default is new', { r: schema() }, { r: schema({ ...text, default: '' }) }, []],
    ['a field is new', { r: schema() }, { r: schema(text) }, ['r: a: is new and has no default']],
    ['a schema is gone', { r: schema() }, {}, ['r: is gone, and topics still hold its messages']],
    ['a schema is no JSON', { r: schema() }, { r: '{' }, [expect.stringMatching(/^r: /)]],
  ])('when %s', (_, before, now, breaks) => {
    expect(schemaBreaks(before as Record<string, string>, now as Record<string, string>)).toEqual(breaks);
  });

  it('compares a checkout with the commit before', () => {
    const root = mkdtempSync(join(tmpdir(), 'baton-schemas-'));
    const git = (...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.com', ...args], { cwd: root });
    const commit = (content: string) => {
      writeFileSync(join(root, SCHEMA_FOLDER, 'R.avsc'), content);
      git('add', '-A');
      git('commit', '-qm', 'x');
    };
    let said = '';
    const write = jest.spyOn(process.stderr, 'write').mockImplementation((line) => {
      said += String(line);
      return true;
    });
    try {
      expect(earlierCommit(SCHEMA_FOLDER, root)).toEqual({ skipped: 'this is no git checkout' });
      mkdirSync(join(root, SCHEMA_FOLDER), { recursive: true });
      git('init', '-q', '-b', 'main');
      commit(schema());
      expect(earlierCommit(SCHEMA_FOLDER, root)).toHaveProperty('skipped');
      commit(schema(text));
      const earlier = earlierCommit(SCHEMA_FOLDER, root) as { commit: string };
      expect(checkSchemas(earlier.commit, root)).toBe(1);
      expect(said).toContain('R.avsc: a: is new and has no default');
      commit(schema({ ...text, default: '' }));
      expect(checkSchemas((earlierCommit(SCHEMA_FOLDER, root) as { commit: string }).commit, root)).toBe(0);
    } finally {
      write.mockRestore();
      rmSync(root, { recursive: true });
    }
  });
});
