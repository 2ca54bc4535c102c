import { DEVELOPER_AUDIENCES } from '#libs/devstack';
import { developerToken } from '../identity/developer.js';
import { ensureHost } from './detach.js';
import { Stack } from './stack.js';

/** @param audience names separated by commas; default: every service with a public HTTP API. */
export async function printToken(audience: string | undefined): Promise<void> {
  const names = (audience ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  const stack = new Stack();
  const host = await ensureHost(stack, false, (line) => process.stderr.write(`${line}\n`));
  const token = await developerToken(stack, host, names.length > 0 ? names : DEVELOPER_AUDIENCES);
  process.stdout.write(`${token}\n`);
}
