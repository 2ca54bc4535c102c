import { isUtf8 } from 'node:buffer';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { TerminalError, validationError, type FieldError } from '#libs/contracts';
import { pathOf } from './routes.js';

/** Nesting beyond this is refused. */
const MAX_DEPTH = 64;
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

export interface BodyRules {
  /** Bytes after decompression; the server's `bodyLimit` is what may arrive. */
  maxBytes: number;
  /** Paths whose bodies are forms (`application/x-www-form-urlencoded`): `body` is their `URLSearchParams`. */
  formPaths?: string[];
  /** The error to raise for a body that is refused; the same one by default. */
  explain?: (error: unknown, request: FastifyRequest) => unknown;
}

const JSON_MEDIA = /^application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;
const FORM_MEDIA = /^application\/x-www-form-urlencoded\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;
const UNPACK = new Map([
  ['gzip', promisify(gunzip)],
  ['x-gzip', promisify(gunzip)],
  ['deflate', promisify(inflate)],
  ['br', promisify(brotliDecompress)],
]);

/**
 * Reads request bodies: JSON objects in UTF-8 only. Answers 413 (large, also when unpacked), 415 (other media type, charset or
 * encoding), 400 `malformed-request` (not JSON, not an object, invalid UTF-8, NUL, too deep) and 400 `validation` for keys that
 * would reach a prototype. A request without a body passes with `body` undefined.
 */
export function readBodies(instance: FastifyInstance, rules: BodyRules): void {
  const { explain = (error: unknown) => error } = rules;
  instance.removeAllContentTypeParsers();
  instance.addContentTypeParser(
    '*',
    { parseAs: 'buffer' },
    async (request: FastifyRequest, bytes: Buffer) => {
      try {
        return bytes.length === 0 ? undefined : await parsed(request, bytes, rules);
      } catch (error) {
        throw explain(error, request);
      }
    },
  );
}

async function parsed(
  request: FastifyRequest,
  bytes: Buffer,
  { formPaths, maxBytes }: BodyRules,
): Promise<unknown> {
  const isForm = formPaths?.includes(pathOf(request)) ?? false;
  const { 'content-type': media = '', 'content-encoding': encoding = 'identity' } = request.headers;
  if (!(isForm ? FORM_MEDIA : JSON_MEDIA).test(media))
    throw unsupported(`Send ${isForm ? 'application/x-www-form-urlencoded' : 'application/json'} in UTF-8`);
  const plain = await unpacked(bytes, encoding.toLowerCase(), maxBytes);
  return isForm ? parseForm(plain) : parseObject(plain);
}

async function unpacked(bytes: Buffer, encoding: string, maxBytes: number): Promise<Buffer> {
  if (encoding === 'identity') return bytes;
  const unpack = UNPACK.get(encoding);
  if (!unpack) throw unsupported('Unknown Content-Encoding');
  try {
    return await unpack(bytes, { maxOutputLength: maxBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE')
      throw malformed('The body could not be unpacked');
    throw new TerminalError('payload-too-large', `The body is too large: at most ${maxBytes} bytes`, {
      status: 413,
    });
  }
}

const unsupported = (detail: string) => new TerminalError('unsupported-media-type', detail, { status: 415 });

const malformed = (detail: string, errors?: FieldError[]) =>
  new TerminalError('malformed-request', detail, { status: 400, errors });

function parseForm(bytes: Buffer): URLSearchParams {
  const form = new URLSearchParams(decoded(bytes));
  if ([...form].flat().some((text) => text.includes('\0'))) throw malformed('The body has a NUL character');
  return form;
}

/** Without the byte order mark, which is no part of the text. */
function decoded(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw malformed('The body is not valid UTF-8');
  const text = bytes.toString();
  return text.startsWith('\uFEFF') ? text.slice(1) : text;
}

/** @throws TerminalError as `readBodies` describes. */
export function parseObject(bytes: Buffer): Record<string, unknown> {
  const text = decoded(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed('The body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed('The body must be a JSON object');
  if (SUSPECT.test(text) || isDeeper(value, MAX_DEPTH)) inspect(value);
  return value as Record<string, unknown>;
}

/** Escaped ASCII or a reserved name: no other text can have a key or a NUL that is refused, so most bodies are not walked through. */
const SUSPECT = new RegExp(String.raw`\\u00[0-7]|${[...FORBIDDEN_KEYS].join('|')}`);

function isDeeper(value: object, levels: number): boolean {
  if (levels === 0) return true;
  for (const child of Array.isArray(value) ? value : Object.values(value))
    if (typeof child === 'object' && child !== null && isDeeper(child as object, levels - 1)) return true;
  return false;
}

interface Place {
  value: object;
  key: string;
  parent: Place | null;
  depth: number;
}

/** Iterative: the depth is what is being checked. */
function inspect(root: object): void {
  const errors: FieldError[] = [];
  const open: Place[] = [{ value: root, key: '', parent: null, depth: 1 }];
  for (let place = open.pop(); place; place = open.pop()) {
    if (place.depth > MAX_DEPTH) {
      const message = `nested deeper than ${MAX_DEPTH} levels`;
      throw malformed(`The body is ${message}`, [{ field: fieldOf(place).split('.')[0]!, message }]);
    }
    const isList = Array.isArray(place.value);
    for (const [key, value] of Object.entries(place.value)) {
      if (!isList && FORBIDDEN_KEYS.has(key))
        errors.push({ field: fieldOf(place, key), message: 'remove this key: its name is reserved' });
      if (key.includes('\0') || (typeof value === 'string' && value.includes('\0')))
        throw malformed('The body has a NUL character');
      if (typeof value === 'object' && value !== null)
        open.push({ value, key, parent: place, depth: place.depth + 1 });
    }
  }
  if (errors.length > 0) throw validationError(errors.slice(0, 20));
}

/** The path of what stands at `place`, or of a key below it; made only for an answer that names it. */
function fieldOf(place: Place, ...below: string[]): string {
  const keys = below;
  for (let at: Place | null = place; at?.parent; at = at.parent) keys.unshift(at.key);
  return keys.join('.');
}
