import { TerminalError } from '#libs/contracts';
import { DEVELOPER_AUDIENCES, SERVICES } from '#libs/devstack';
import { developerToken } from '../identity/developer.js';
import { ensureHost } from './detach.js';
import { Stack } from './stack.js';

/**
 * @param audience names separated by commas; default: every service with a public HTTP API.
 * @throws TerminalError `unknown-audience` for a name that no service of the stack has
 */
export async function printToken(audience: string | undefined): Promise<void> {
  const names = (audience ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  const services = SERVICES.map(({ name }): string => name);
  const unknown = names.filter((name) => !services.includes(name));
  if (unknown.length > 0 || (audience !== undefined && names.length === 0))
    throw new TerminalError(
      'unknown-audience',
      `There is no service ${unknown.join(', ') || 'without a name'}; there are ${services.join(', ')}`,
    );
  const stack = new Stack();
  const host = await ensureHost(stack, false, (line) => process.stderr.write(`${line}\n`));
  const token = await developerToken(stack, host, names.length > 0 ? names : DEVELOPER_AUDIENCES);
  process.stdout.write(`${token}\n`);
}
