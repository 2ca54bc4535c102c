import { isUtf8 } from 'node:buffer';
import express, { type NextFunction, type Request, type RequestHandler, type Response } from 'express';
import { TerminalError, validationError, type FieldError } from '#libs/contracts';
import { ClientLeft } from './client-left.js';

/** Nesting beyond this is refused. */
const MAX_DEPTH = 64;
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

export interface BodyLimits {
  /** Bytes after decompression. */
  maxBytes: number;
  /** Milliseconds in which the whole body has to arrive. */
  timeoutMs: number;
  /** Paths whose bodies are forms (`application/x-www-form-urlencoded`): `body` is their `URLSearchParams`. */
  formPaths?: string[];
}

const JSON_MEDIA = /^application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;
const FORM_MEDIA = /^application\/x-www-form-urlencoded\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;

/**
 * Reads request bodies: JSON objects in UTF-8 only. Answers 408 (slow), 413 (large, also when unpacked), 415 (other media type,
 * charset or encoding), 400 `malformed-request` (not JSON, not an object, invalid UTF-8, NUL, too deep) and
 * 400 `validation` for keys that would reach a prototype. A request without a body passes with `body` undefined; a connection
 * that closes before the whole body was there raises `ClientLeft`.
 */
export function jsonBody(limits: BodyLimits): RequestHandler {
  const raw = express.raw({ type: () => true, limit: limits.maxBytes, inflate: true });
  return (req: Request, res: Response, next: NextFunction) => {
    if (!hasBody(req)) {
      req.body = undefined;
      next();
      return;
    }
    const isForm = limits.formPaths?.includes(req.path) ?? false;
    if (!(isForm ? FORM_MEDIA : JSON_MEDIA).test(req.headers['content-type'] ?? '')) {
      const wanted = isForm ? 'application/x-www-form-urlencoded' : 'application/json';
      next(new TerminalError('unsupported-media-type', `Send ${wanted} in UTF-8`, { status: 415 }));
      return;
    }
    let done = false;
    const finish = (error?: unknown) => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      next(error);
    };
    const timer = setTimeout(() => {
      // What still arrives is not read: the connection ends with the answer.
      res.setHeader('connection', 'close');
      res.once('finish', () => req.destroy());
      finish(
        new TerminalError('request-timeout', `The body did not arrive within ${limits.timeoutMs} ms`, {
          status: 408,
        }),
      );
    }, limits.timeoutMs);
    // Made only when it is needed: an error takes a stack, and every connection closes.
    res.once('close', () => void (done || finish(new ClientLeft())));
    raw(req, res, (error?: unknown) => {
      if (error) return finish(bodyError(error));
      try {
        req.body = (isForm ? parseForm : parseObject)(req.body as Buffer);
        finish();
      } catch (parseFailure) {
        finish(parseFailure);
      }
    });
  };
}

function hasBody(req: Request): boolean {
  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0;
}

function bodyError(error: unknown): unknown {
  const { type, status, limit } = error as { type?: string; status?: number; limit?: number };
  if (type === 'request.aborted') return new ClientLeft();
  if (type === 'entity.too.large')
    return new TerminalError('payload-too-large', `The body is too large: at most ${limit} bytes`, {
      status: 413,
    });
  if (type === 'encoding.unsupported')
    return new TerminalError('unsupported-media-type', 'Unknown Content-Encoding', { status: 415 });
  if (status !== undefined && status < 500) return malformed('The body could not be read');
  return error;
}

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

/** @throws TerminalError as `jsonBody` describes. */
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
  inspect(value);
  return value as Record<string, unknown>;
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
      throw malformed(`The body is ${message}`, [{ field: pathOf(place).split('.')[0]!, message }]);
    }
    const isList = Array.isArray(place.value);
    for (const [key, value] of Object.entries(place.value)) {
      if (!isList && FORBIDDEN_KEYS.has(key))
        errors.push({ field: pathOf(place, key), message: 'remove this key: its name is reserved' });
      if (key.includes('\0') || (typeof value === 'string' && value.includes('\0')))
        throw malformed('The body has a NUL character');
      if (typeof value === 'object' && value !== null)
        open.push({ value, key, parent: place, depth: place.depth + 1 });
    }
  }
  if (errors.length > 0) throw validationError(errors.slice(0, 20));
}

/** The path of what stands at `place`, or of a key below it; made only for an answer that names it. */
function pathOf(place: Place, ...below: string[]): string {
  const keys = below;
  for (let at: Place | null = place; at?.parent; at = at.parent) keys.unshift(at.key);
  return keys.join('.');
}
