import { join } from 'node:path';
import { projectRoot } from '../root.js';

const folder = (): string => join(projectRoot(), 'proto');

/** The full path of a definition below `proto/`. */
export const protoFile = (path: string): string => join(folder(), path);

/** Messages have the names of the definitions; what is absent has its default, and null where the field is optional, is undefined. */
export const loaderOptions = () => ({
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  includeDirs: [folder()],
});
