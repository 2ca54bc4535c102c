import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '#libs/chassis';
import { protoBaseline } from './proto-baseline.js';

const DEFINITION = 'syntax = "proto3";\npackage a.v1;\nmessage A {\n  string id = 1;\n}\n';

describe('protoBaseline', () => {
  let root: string;
  beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'baton-baseline-'))));
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...args], { cwd: root, stdio: 'pipe' });
  const write = (text: string) => {
    mkdirSync(join(root, 'proto/a/v1'), { recursive: true });
    writeFileSync(join(root, 'proto/a/v1/a.proto'), text);
    writeFileSync(join(root, 'buf.yaml'), 'version: v2\nmodules: [{ path: proto }]\n');
  };
  const commit = () => {
    git('add', '.');
    git('commit', '-qm', 'x', '--allow-empty');
  };
  /** What buf says of the working tree against the baseline; null when it finds nothing broken. */
  const broken = (): string | null => {
    const baseline = protoBaseline(root, root);
    if ('skipped' in baseline) throw new Error(baseline.skipped);
    const buf = join(projectRoot(), 'node_modules/@bufbuild/buf/bin/buf');
    try {
      execFileSync(process.execPath, [buf, 'breaking', '--against', baseline.archive], {
        cwd: root,
        stdio: 'pipe',
      });
      return null;
    } catch (error) {
      return String((error as { stdout: Buffer }).stdout);
    }
  };

  it.each<[string, () => void, RegExp]>([
    ['outside git', () => undefined, /no git checkout/],
    ['before the first commit', () => git('init', '-q'), /no commit yet/],
    ['in a checkout of one commit', () => (git('init', '-q', '-b', 'main'), commit()), /no earlier commit/],
    [
      'when proto/ is new',
      () => (git('init', '-q', '-b', 'main'), commit(), write(DEFINITION), commit()),
      /no proto\/ yet/,
    ],
  ])('says why there is none %s', (_, prepare, reason) => {
    prepare();
    expect(protoBaseline(root, root)).toEqual({ skipped: expect.stringMatching(reason) });
  });

  it('is the commit before on the main branch: what breaks is found, what is added is not', () => {
    git('init', '-q', '-b', 'main');
    write(DEFINITION);
    commit();
    write(DEFINITION.replace('}', '  string name = 2;\n}'));
    commit();
    expect(broken()).toBeNull();
    write(DEFINITION.replace('id = 1', 'id = 2'));
    commit();
    expect(broken()).toMatch(/field "1"/);
  });

  it('is where a branch left the main branch, however many commits ago', () => {
    git('init', '-q', '-b', 'main');
    write(DEFINITION);
    commit();
    git('checkout', '-qb', 'topic');
    write(DEFINITION.replace('string', 'int32'));
    commit();
    commit();
    expect(broken()).toMatch(/changed type from "string" to "int32"/);
  });
});
