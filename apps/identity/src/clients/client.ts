import { createHash } from 'node:crypto';
import { SCOPES, type Scope } from '#libs/auth';
import { TerminalError } from '#libs/contracts';
import { defaultAudiences, defaultScopes } from './call-matrix.js';

/** A service that may ask for tokens. */
export interface Client {
  /** The name of the service. */
  id: string;
  /** SHA-256 of its secret. The secret has 256 random bits: a slow hash would protect nothing, and cost every token its time. */
  secretHash: Buffer;
  /** What it may do for itself, and at most carry for others. */
  scopes: Scope[];
  /** Services that it may call; `agent-*` for a family. */
  audiences: string[];
  /** Seconds for which the tokens live that it gets for an API key. */
  tokenSeconds: number;
}

export const TOKEN_SECONDS = 300;
const MAX_TOKEN_SECONDS = 86_400;
const NAME = /^[a-z][a-z0-9-]{0,62}$/;
const KNOWN = ['id', 'secret', 'secret_sha256', 'scopes', 'audiences', 'token_seconds'];

/**
 * Reads `IDENTITY_CLIENTS`: `[{"id", "secret" | "secret_sha256" (hexadecimal), "scopes"?, "audiences"?, "token_seconds"?}, …]`.
 * What is left out comes from the call matrix.
 * @throws TerminalError `configuration` naming every fault
 */
export function readClients(text: string): Client[] {
  const faults: string[] = [];
  const clients = parseList(text, faults).flatMap((entry, i) => {
    const mine = faultsOf(entry);
    faults.push(...mine.map((fault) => `[${i}] ${fault}`));
    return mine.length > 0 ? [] : [clientOf(entry)];
  });
  const ids = clients.map(({ id }) => id);
  for (const id of new Set(ids.filter((one, i) => ids.indexOf(one) !== i)))
    faults.push(`${id} is there twice`);
  if (faults.length > 0)
    throw new TerminalError('configuration', `Wrong configuration: IDENTITY_CLIENTS: ${faults.join('; ')}`);
  return clients;
}

type Entry = Record<string, unknown>;

function parseList(text: string, faults: string[]): Entry[] {
  try {
    const list = JSON.parse(text) as unknown;
    if (Array.isArray(list) && list.every((entry) => typeof entry === 'object' && entry !== null))
      return list as Entry[];
  } catch {
    // Answered below; the text holds secrets.
  }
  faults.push('a JSON list of objects is wanted');
  return [];
}

function faultsOf(entry: Entry): string[] {
  const { id, secret, secret_sha256: hash, scopes, audiences, token_seconds: seconds } = entry;
  const faults: string[] = [];
  const want = (condition: boolean, fault: string) => void (condition || faults.push(fault));
  want(typeof id === 'string' && NAME.test(id), 'id: small letters, digits and - are wanted');
  want((secret === undefined) !== (hash === undefined), 'secret or secret_sha256 is wanted');
  want(
    secret === undefined || (typeof secret === 'string' && secret.length >= 32),
    'secret: at least 32 characters are wanted',
  );
  want(
    hash === undefined || (typeof hash === 'string' && /^[0-9a-f]{64}$/i.test(hash)),
    'secret_sha256: 64 hexadecimal digits are wanted',
  );
  want(scopes === undefined || isListOf(scopes, SCOPES), `scopes: a list of ${SCOPES.join(', ')} is wanted`);
  want(audiences === undefined || isListOf(audiences), 'audiences: a list of names is wanted');
  want(
    seconds === undefined ||
      (Number.isInteger(seconds) && Number(seconds) >= 60 && Number(seconds) <= MAX_TOKEN_SECONDS),
    `token_seconds: 60 to ${MAX_TOKEN_SECONDS} is wanted`,
  );
  for (const name of Object.keys(entry)) want(KNOWN.includes(name), `${name} is not known`);
  return faults;
}

function isListOf(value: unknown, known?: readonly string[]): boolean {
  return (
    Array.isArray(value) &&
    value.every((one) => typeof one === 'string' && (known === undefined || known.includes(one)))
  );
}

function clientOf(entry: Entry): Client {
  const id = entry['id'] as string;
  return {
    id,
    secretHash:
      typeof entry['secret'] === 'string'
        ? createHash('sha256').update(entry['secret']).digest()
        : Buffer.from(entry['secret_sha256'] as string, 'hex'),
    scopes: (entry['scopes'] as Scope[] | undefined) ?? defaultScopes(id),
    audiences: (entry['audiences'] as string[] | undefined) ?? defaultAudiences(id),
    tokenSeconds: (entry['token_seconds'] as number | undefined) ?? TOKEN_SECONDS,
  };
}
