import { once } from 'node:events';
import type { OutgoingHttpHeaders } from 'node:http';
import type { FastifyReply } from 'fastify';
import { clientLeft } from './client-left.js';

/** `data` is one line. */
export interface ServerSentEvent {
  /** What `Last-Event-ID` resumes after; absent for what is not sent again. */
  id?: number;
  event: string;
  data: string;
}

const HEARTBEAT_MS = 15_000;

/**
 * Writes events as they come (WHATWG HTML, section 9.2). Waits for a slow reader; ends with the events or with the connection: then
 * `signal` aborts.
 */
export async function sendEvents(
  reply: FastifyReply,
  events: (signal: AbortSignal) => AsyncIterable<ServerSentEvent>,
): Promise<void> {
  const gone = clientLeft(reply);
  reply.hijack();
  if (gone.aborted) return;
  const response = reply.raw;
  // A body that nobody reads never ends, and would be late.
  response.req.resume();
  response.writeHead(200, {
    ...(reply.getHeaders() as OutgoingHttpHeaders),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  response.flushHeaders();
  const heartbeat = setInterval(() => response.write(': \n\n'), HEARTBEAT_MS);
  try {
    for await (const event of events(gone)) {
      if (!response.write(format(event))) await once(response, 'drain', { signal: gone });
    }
    response.end();
  } catch {
    // The reader comes back with Last-Event-ID; a broken stream must not look finished.
    response.destroy();
  } finally {
    clearInterval(heartbeat);
  }
}

function format({ id, event, data }: ServerSentEvent): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`;
}
