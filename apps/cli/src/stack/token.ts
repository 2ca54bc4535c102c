import { DEVELOPER_AUDIENCES } from '#libs/devstack';
import { Stack } from './stack.js';

/** @param audience names separated by commas; default: every service with a public HTTP API. */
export function printToken(audience: string | undefined): void {
  const names = (audience ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  process.stdout.write(`${new Stack().developerToken(names.length > 0 ? names : DEVELOPER_AUDIENCES)}\n`);
}
