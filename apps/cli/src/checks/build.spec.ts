import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '#libs/chassis';

it('the build holds neither tests nor their fixtures', () => {
  const built = readdirSync(join(projectRoot(), 'dist'), { recursive: true, encoding: 'utf8' });
  expect(built).toContain(join('apps', 'cli', 'src', 'main.js'));
  expect(built.filter((file) => /\.(spec|fixture)\.js/.test(file))).toEqual([]);
});
