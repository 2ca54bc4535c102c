import { once } from 'node:events';
import type { Response } from 'express';
import { clientLeft } from '#libs/chassis';
import type { FeedItem } from '../feed.js';

const HEARTBEAT_MS = 15_000;

/**
 * Writes a task's feed as server-sent events (WHATWG HTML, section 9.2): journal entries carry their sequence as `id:`, deltas none,
 * so `Last-Event-ID` resumes without gap or repeat. Waits for a slow reader; ends with the feed or with the connection.
 */
export async function sendEvents(
  response: Response,
  feed: (signal: AbortSignal) => AsyncIterable<FeedItem>,
): Promise<void> {
  const gone = clientLeft(response);
  if (gone.aborted) return;
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  response.flushHeaders();
  const heartbeat = setInterval(() => response.write(': \n\n'), HEARTBEAT_MS);
  try {
    for await (const item of feed(gone)) {
      if (!response.write(format(item))) await once(response, 'drain', { signal: gone });
    }
    response.end();
  } catch {
    // The reader comes back with Last-Event-ID; a broken stream must not look finished.
    response.destroy();
  } finally {
    clearInterval(heartbeat);
  }
}

function format(item: FeedItem): string {
  if ('delta' in item) return `event: ${item.delta.kind}\ndata: ${JSON.stringify(item.delta)}\n\n`;
  return `id: ${item.entry.seq}\nevent: ${item.entry.body.kind}\ndata: ${JSON.stringify(item.entry)}\n\n`;
}
