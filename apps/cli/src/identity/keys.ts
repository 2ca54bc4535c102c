import { SCOPES } from '#libs/auth';
import { TerminalError } from '#libs/contracts';
import { ensureHost } from '../stack/detach.js';
import { Stack } from '../stack/stack.js';
import { table } from '../stack/table.js';
import { DEVELOPER } from './developer.js';
import { withIdentity, type ApiKey, type Identity } from './identity.js';

export interface CreateOptions {
  user?: string;
  tenant?: string;
  scope: string[];
  expires?: string;
  name?: string;
  json?: boolean;
}

const DEFAULT_SCOPES = ['tasks:read', 'tasks:write'];

/** Makes a key and prints it: nobody can show it again. */
export async function createKey(options: CreateOptions): Promise<void> {
  const expires = options.expires === undefined ? null : expiryOf(options.expires, new Date());
  requireScopes(options.scope);
  const created = await asOperator((identity) =>
    identity.createKey({
      tenant: options.tenant ?? DEVELOPER.tenant,
      scopes: options.scope.length > 0 ? options.scope : DEFAULT_SCOPES,
      ...(options.user === undefined ? {} : { user: options.user }),
      ...(options.name === undefined ? {} : { name: options.name }),
      ...(expires === null ? {} : { expires_at: expires.toISOString() }),
    }),
  );
  if (options.json) return print(created);
  notice(`${ownerOf(created)}; it may ${created.scopes.join(', ')}; ${validity(created)}.`);
  notice('The key is shown this one time:');
  process.stdout.write(`${created.key}\n`);
}

export async function listKeys({ tenant, json }: { tenant?: string; json?: boolean }): Promise<void> {
  const keys = await asOperator((identity) => identity.keys(tenant));
  if (json) return print(keys);
  const rows = keys.map((key) => [
    key.id,
    key.tenant,
    key.user ?? '(all)',
    key.scopes.join(' '),
    stateOf(key),
    dateOf(key.last_used_at),
    key.name,
  ]);
  process.stdout.write(table(['key', 'tenant', 'user', 'scopes', 'state', 'last used', 'name'], rows));
}

export async function revokeKey(text: string): Promise<void> {
  const id = idOf(text);
  await asOperator(async (identity) => {
    const before = (await identity.keys(undefined)).find((key) => key.id === id)?.revoked_at;
    if (before) return notice(`It was revoked already, at ${dateOf(before)}.`);
    await identity.revokeKey(id);
    notice('Revoked. Doors that have just seen it forget it within 30 s.');
  });
}

/** The id, also of somebody who has only the key at hand. */
export const idOf = (text: string): string => /^baton_([^_]+)_/.exec(text)?.[1] ?? text;

/** @throws TerminalError `scope-unknown` */
export function requireScopes(scopes: string[]): void {
  const unknown = scopes.filter((scope) => !(SCOPES as readonly string[]).includes(scope));
  if (unknown.length > 0)
    throw new TerminalError('scope-unknown', `--scope ${unknown.join(' ')}: there are ${SCOPES.join(', ')}`);
}

const UNITS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @param text `90m`, `12h`, `30d` or a date that JavaScript reads @throws TerminalError `expiry-invalid` */
export function expiryOf(text: string, now: Date): Date {
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  const date = unit ? new Date(now.getTime() + Number(count) * UNITS[unit]!) : new Date(text);
  if (Number.isNaN(date.getTime()) || date <= now)
    throw new TerminalError(
      'expiry-invalid',
      `--expires ${text}: give a time like 90m, 12h or 30d, or a future date`,
    );
  return date;
}

function stateOf({ revoked_at, expires_at }: ApiKey): string {
  if (revoked_at) return 'revoked';
  if (!expires_at) return 'valid';
  return Date.parse(expires_at) > Date.now() ? `until ${dateOf(expires_at)}` : 'expired';
}

const ownerOf = ({ user, tenant }: ApiKey) =>
  user ? `Key of ${user} (tenant ${tenant})` : `Key of tenant ${tenant}`;
const validity = ({ expires_at }: ApiKey) =>
  expires_at ? `valid until ${expires_at}` : 'valid until revoked';
const dateOf = (time: string | null) => time?.slice(0, 16).replace('T', ' ') ?? 'never';

async function asOperator<T>(work: (identity: Identity) => Promise<T>): Promise<T> {
  const stack = new Stack();
  return withIdentity(stack, await ensureHost(stack, false, notice), work);
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

function notice(line: string): void {
  process.stderr.write(`${line}\n`);
}
