import { canTraverse } from './account.js';

const folders: Record<string, { uid: number; gid: number; mode: number }> = {
  '/': { uid: 0, gid: 0, mode: 0o40755 },
  '/closed': { uid: 0, gid: 0, mode: 0o40700 },
  '/closed/data': { uid: 101, gid: 104, mode: 0o40755 },
  '/srv': { uid: 0, gid: 104, mode: 0o40750 },
  '/srv/mine': { uid: 101, gid: 0, mode: 0o40700 },
  '/srv/locked': { uid: 101, gid: 0, mode: 0o40077 },
};
const stat = (path: string) => folders[path]!;
const postgres = { uid: 101, gid: 104 };

describe('canTraverse', () => {
  it.each([
    ['/closed/data', false],
    ['/srv/mine', true],
    ['/srv/locked', false],
  ])('%s: %s', (path, expected) => {
    expect(canTraverse(postgres, path, stat)).toBe(expected);
  });

  it('asks nothing for the own user', () => {
    expect(canTraverse(null, '/closed/data', stat)).toBe(true);
  });
});
