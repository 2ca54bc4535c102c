import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { BatonError, type JournalEntry, type LiveDelta } from '#libs/contracts';
import { Channels } from '#libs/messaging';
import { AGENT, type Agent } from './agent.js';
import { RunRepository } from './store/run.repository.js';
import { TaskRepository } from './store/task.repository.js';

/** What a watcher sees: journal entries, each exactly once and in order, and transient deltas between them. */
export type FeedItem = { entry: JournalEntry } | { delta: LiveDelta };

const channelOf = (taskId: string): string => `baton:task:${taskId}`;
/** Ids of an agent's tasks that ended: who waits for ends alone needs no subscription for each, and gets none of their entries. */
const endsOf = (agentId: string): string => `baton:ended:${agentId}`;
/** A watcher looks into the journal this often, whatever Redis says. */
const CATCH_UP_MS = 2000;
/** Messages that a slow watcher may leave unread before they are dropped for a look into the journal. */
const MAX_UNREAD = 256;
/** Waiters for a task's end ask Postgres this often, all of a process together. */
const POLL_MS = 1000;

/**
 * News of tasks. The journal is the truth, Redis only makes it quick: a watcher replays the journal and goes on with what is
 * published; a gap or a silence sends it back to the journal.
 */
@Injectable()
export class TaskFeed implements OnApplicationShutdown {
  private readonly waiters = new Map<string, Set<() => void>>();
  private poll?: NodeJS.Timeout;
  private listening?: Promise<unknown>;

  constructor(
    @Inject(AGENT) private readonly agent: Pick<Agent, 'definition'>,
    @Inject(Channels) private readonly channels: Channels,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(TaskRepository) private readonly tasks: TaskRepository,
  ) {}

  announce(taskId: string, item: FeedItem): void {
    this.channels.publish(channelOf(taskId), JSON.stringify(item));
    if (!('entry' in item && item.entry.body.kind === 'finish')) return;
    this.channels.publish(endsOf(this.agent.definition.id), taskId);
    this.wake(taskId);
  }

  /**
   * Items after the sequence `after`, up to the terminal entry or until `signal` aborts. The terminal entry always comes, even when
   * it is not after `after`: every watcher learns the end. `ended`: nothing will follow the journal.
   */
  async *watch(taskId: string, after: number, ended: boolean, signal: AbortSignal): AsyncGenerator<FeedItem> {
    const inbox = new Inbox();
    const unsubscribe = ended
      ? () => undefined
      : await this.channels.subscribe(channelOf(taskId), (text) => inbox.put(text));
    let last = after;
    try {
      // The first look is at the journal as the watcher found the task; later ones notice an end that no entry told.
      for (let over = ended; !signal.aborted; over = await this.tasks.hasEnded(taskId).catch(() => false)) {
        for (const entry of await whenPossible(() => this.runs.entries(taskId, last), signal)) {
          yield { entry };
          last = entry.seq;
          if (entry.body.kind === 'finish') return;
        }
        if (over) {
          const end = await whenPossible(() => this.runs.lastEntry(taskId), signal);
          if (end?.body.kind === 'finish') yield { entry: end };
          return;
        }
        for (
          let item = await inbox.take(CATCH_UP_MS, signal);
          item;
          item = await inbox.take(CATCH_UP_MS, signal)
        ) {
          if ('delta' in item) yield item;
          else if (item.entry.seq === last + 1) {
            yield item;
            last = item.entry.seq;
            if (item.entry.body.kind === 'finish') return;
          } else if (item.entry.seq > last) break;
        }
      }
    } finally {
      unsubscribe();
    }
  }

  /**
   * Resolves true when the task has ended, false after `timeoutMs` or when `signal` aborts.
   * @param accepted the task was accepted just now: it needs no look whether it ended before anybody listened
   */
  async waitForEnd(
    taskId: string,
    timeoutMs: number,
    signal?: AbortSignal,
    accepted = false,
  ): Promise<boolean> {
    let wake!: (ended: boolean) => void;
    const answer = new Promise<boolean>((resolve) => (wake = resolve));
    const onEnd = () => wake(true);
    const giveUp = () => wake(false);
    const timer = setTimeout(giveUp, timeoutMs);
    signal?.addEventListener('abort', giveUp, { once: true });
    if (signal?.aborted) giveUp();
    this.addWaiter(taskId, onEnd);
    try {
      await this.listen();
      // It may have ended before anybody listened.
      if (!accepted && (await this.tasks.hasEnded(taskId).catch(() => false))) return true;
      return await answer;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', giveUp);
      this.removeWaiter(taskId, onEnd);
    }
  }

  /** From the first waiter on, for ever. */
  private listen(): Promise<unknown> {
    return (this.listening ??= this.channels.subscribe(endsOf(this.agent.definition.id), (taskId) =>
      this.wake(taskId),
    ));
  }

  private addWaiter(taskId: string, onEnd: () => void): void {
    const waiters = this.waiters.get(taskId) ?? new Set();
    this.waiters.set(taskId, waiters.add(onEnd));
    this.poll ??= setInterval(() => void this.pollEnded(), POLL_MS).unref();
  }

  private removeWaiter(taskId: string, onEnd: () => void): void {
    const waiters = this.waiters.get(taskId);
    waiters?.delete(onEnd);
    if (waiters?.size === 0) this.waiters.delete(taskId);
    if (this.waiters.size === 0) {
      clearInterval(this.poll);
      this.poll = undefined;
    }
  }

  private async pollEnded(): Promise<void> {
    const ended = await this.tasks.ended([...this.waiters.keys()]).catch(() => []);
    for (const id of ended) this.wake(id);
  }

  private wake(taskId: string): void {
    for (const onEnd of this.waiters.get(taskId) ?? []) onEnd();
  }

  onApplicationShutdown(): void {
    clearInterval(this.poll);
  }
}

async function whenPossible<T>(read: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof BatonError && error.retryable) || signal.aborted) throw error;
      await sleep(500, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** Messages between a subscription and its watcher. */
class Inbox {
  private items: FeedItem[] = [];
  private wake?: () => void;

  put(text: string): void {
    // The dropped ones are found in the journal: the next entry shows the gap.
    if (this.items.length >= MAX_UNREAD) this.items = [];
    this.items.push(JSON.parse(text) as FeedItem);
    this.wake?.();
  }

  async take(timeoutMs: number, signal: AbortSignal): Promise<FeedItem | undefined> {
    if (this.items.length === 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', done);
          this.wake = undefined;
          resolve();
        };
        const timer = setTimeout(done, timeoutMs);
        signal.addEventListener('abort', done);
        this.wake = done;
      });
    }
    return this.items.shift();
  }
}
