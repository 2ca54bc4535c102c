import { setTimeout as sleep } from 'node:timers/promises';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import {
  messageOf,
  TerminalError,
  type AgentResult,
  type JournalEntry,
  type LiveDelta,
} from '#libs/contracts';

/** News of a run: a journal entry, or a transient event that is only for the eye. */
export type TaskNews = { kind: 'entry'; entry: JournalEntry } | { kind: 'live'; delta: LiveDelta };

export type OpenEvents = (lastSeq: number, signal: AbortSignal) => Promise<ReadableStream<Uint8Array>>;

export interface FollowOptions {
  open: OpenEvents;
  onNews: (news: TaskNews) => void;
  /** Called once for each time that the stream is lost. */
  onLost?: (cause: string) => void;
  signal: AbortSignal;
  /** How long the stream may stay away before the follower gives up. Default 60 s. */
  patienceMs?: number;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 3000;

/**
 * Follows a task to its end over as many connections as it takes: each goes on behind the last entry seen, and an entry that
 * comes twice is shown once.
 * @throws the signal's reason; a `TerminalError` of `open`; TerminalError `stream-lost` when the stream stays away.
 */
export async function followTask({
  open,
  onNews,
  onLost,
  signal,
  patienceMs = 60_000,
}: FollowOptions): Promise<AgentResult> {
  let lastSeq = 0;
  let lastSign = Date.now();
  let pause = FIRST_PAUSE_MS;
  for (;;) {
    let cause = 'it ended early';
    try {
      for await (const { event, data } of eventsOf(await open(lastSeq, signal))) {
        lastSign = Date.now();
        pause = FIRST_PAUSE_MS;
        const news = readNews(event, data);
        if (news?.kind === 'entry') {
          if (news.entry.seq <= lastSeq) continue;
          lastSeq = news.entry.seq;
        }
        if (news) onNews(news);
        if (news?.kind === 'entry' && news.entry.body.kind === 'finish') return news.entry.body.result;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof TerminalError) throw error;
      cause = messageOf(error);
    }
    if (pause === FIRST_PAUSE_MS) onLost?.(cause);
    if (Date.now() - lastSign > patienceMs)
      throw new TerminalError(
        'stream-lost',
        `The event stream stayed away for ${patienceMs / 1000} s: ${cause}`,
      );
    await sleep(pause, undefined, { signal });
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

function eventsOf(stream: ReadableStream<Uint8Array>) {
  return stream.pipeThrough(new TextDecoderStream() as never).pipeThrough(new EventSourceParserStream());
}

const ENTRIES = new Set(['model', 'tools', 'finish']);

function readNews(event: string | undefined, data: string): TaskNews | null {
  if (!event) return null;
  if (ENTRIES.has(event)) return { kind: 'entry', entry: JSON.parse(data) as JournalEntry };
  return { kind: 'live', delta: JSON.parse(data) as LiveDelta };
}
