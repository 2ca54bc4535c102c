import type { ServerResponse } from 'node:http';
import { errorBody } from '../openai-error.js';
import type { ChatRequest } from './chat-request.js';
import { beginningOf, type Completion } from './completion.js';
import { streamedAnswer, wholeAnswer } from './wire.js';

/** A request that is never answered is given up after this. */
const HANG_MS = 600_000;
const EVENT_STREAM = { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' };
const JSON_TYPE = 'application/json; charset=utf-8';

/** How an answer travels. */
export interface Delivery {
  chunkChars: number;
  chunkDelayMs: number;
  /** The connection is cut after that many characters of content and arguments. */
  cutAfter: number | null;
}

/** Waits; false when the client went away meanwhile. */
export function pause(response: ServerResponse, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const close = () => {
      clearTimeout(timer);
      resolve(false);
    };
    const timer = setTimeout(() => {
      response.off('close', close);
      resolve(true);
    }, ms);
    response.once('close', close);
  });
}

/** Never answers. */
export async function hang(response: ServerResponse): Promise<void> {
  if (await pause(response, HANG_MS)) response.destroy();
}

export function refuse(
  response: ServerResponse,
  status: number,
  retryAfter: number | string | undefined,
): void {
  const body = JSON.stringify(errorBody(status, `Scripted error ${status}`, 'scripted_error'));
  if (retryAfter !== undefined) response.setHeader('retry-after', retryAfter);
  response.writeHead(status, { 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

export async function deliver(
  response: ServerResponse,
  request: ChatRequest,
  completion: Completion,
  delivery: Delivery,
): Promise<void> {
  if (request.stream) return deliverStream(response, request, completion, delivery);
  const body = Buffer.from(wholeAnswer(request, completion));
  response.writeHead(200, { 'content-type': JSON_TYPE, 'content-length': body.length });
  if (delivery.cutAfter === null) response.end(body);
  else cut(response, body.subarray(0, Math.min(delivery.cutAfter, body.length - 1)));
}

async function deliverStream(
  response: ServerResponse,
  request: ChatRequest,
  completion: Completion,
  { chunkChars, chunkDelayMs, cutAfter }: Delivery,
): Promise<void> {
  const shown = cutAfter === null ? completion : beginningOf(completion, cutAfter);
  const { deltas, end } = streamedAnswer(request, shown, chunkChars);
  if (chunkDelayMs === 0 && cutAfter === null) {
    // All at once is one write.
    const body = deltas.join('') + end;
    response.writeHead(200, { ...EVENT_STREAM, 'content-length': Buffer.byteLength(body) });
    response.end(body);
    return;
  }
  response.writeHead(200, EVENT_STREAM);
  if (chunkDelayMs > 0)
    for (const delta of deltas.splice(0)) {
      response.write(delta);
      if (!(await pause(response, chunkDelayMs))) return;
    }
  if (cutAfter === null) response.end(deltas.join('') + end);
  else cut(response, deltas.join(''));
}

/** Sends `data`, then breaks the connection. */
function cut(response: ServerResponse, data: string | Buffer): void {
  if (data.length === 0) {
    response.flushHeaders();
    setImmediate(() => response.destroy());
  } else response.write(data, () => response.destroy());
}
