import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { isTerminal, TerminalError, type TaskView } from '#libs/contracts';
import { Channels } from '#libs/messaging';
import { AGENT, type Agent } from './agent.js';
import { Dispatcher } from './dispatcher.js';
import { TaskFeed } from './feed.js';
import { Announcements } from './handoff/announcements.js';
import { Leases } from './lease.js';
import { bestOutput } from './loop/next.js';
import { replay } from './loop/state.js';
import { finishEntry, resultColumns } from './loop/endings.js';
import { RunMetrics } from './run-metrics.js';
import { RunRepository } from './store/run.repository.js';
import { TaskRepository, type Scope } from './store/task.repository.js';

/** Time in which a running worker's confirmation is waited for. */
const CONFIRM_MS = 5000;
const UNHELD_ATTEMPTS = 5;

/**
 * P6: flag in Postgres, word through Redis, confirmation by the worker. A worker that misses the word reads the flag with its
 * next write or renewal.
 */
@Injectable()
export class Canceller implements OnApplicationBootstrap, OnApplicationShutdown {
  private stopListening?: () => void;

  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(TaskRepository) private readonly tasks: TaskRepository,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(TaskFeed) private readonly feed: TaskFeed,
    @Inject(Announcements) private readonly announcements: Announcements,
    @Inject(Channels) private readonly channels: Channels,
    @Inject(Dispatcher) private readonly dispatcher: Dispatcher,
    @Inject(Leases) private readonly leases: Leases,
    @Inject(RunMetrics) private readonly metrics: RunMetrics,
  ) {}

  private get channel(): string {
    return `baton:cancel:${this.agent.definition.id}`;
  }

  async onApplicationBootstrap(): Promise<void> {
    this.stopListening = await this.channels.subscribe(this.channel, (taskId) => this.leases.cancel(taskId));
  }

  onApplicationShutdown(): void {
    this.stopListening?.();
  }

  /**
   * Status `cancelled` in the answer is the acknowledgement: nothing of the task starts any more. Otherwise
   * `cancel_requested` is set and the worker has not confirmed yet.
   * @throws TerminalError `task-not-found` (404), `task-finished` (409)
   */
  cancel(taskId: string, scope: Scope): Promise<TaskView> {
    return this.end(taskId, scope, CONFIRM_MS);
  }

  /** The same, without waiting for a worker's confirmation. */
  async request(taskId: string, scope: Scope): Promise<void> {
    await this.end(taskId, scope, 0);
  }

  private async end(taskId: string, scope: Scope, confirmMs: number): Promise<TaskView> {
    await this.tasks.require(taskId, scope);
    for (let attempt = 0; attempt < UNHELD_ATTEMPTS; attempt += 1) {
      const flagged = await this.tasks.requestCancel(taskId);
      if (!flagged) break;
      if (flagged.held) {
        this.channels.publish(this.channel, taskId);
        if (confirmMs > 0) await this.feed.waitForEnd(taskId, confirmMs);
        break;
      }
      if (await this.endUnheld(taskId)) break;
    }
    const view = await this.tasks.require(taskId, scope);
    if (isTerminal(view.status) && view.status !== 'cancelled') throw finished(view);
    return view;
  }

  /** Ends a task that waits, or whose worker is dead; false when a worker has it by now. */
  private async endUnheld(taskId: string): Promise<boolean> {
    const current = await this.runs.unheld(taskId);
    if (!current) return false;
    const entries = await this.runs.entries(taskId);
    const state = replay(entries.map(({ body }) => body));
    const ending = {
      status: 'cancelled',
      output: bestOutput(state),
      error: 'cancelled',
      detail: 'Cancelled on request',
    } as const;
    const body = finishEntry(taskId, state, ending, current.elapsedMs);
    const seq = state.seq + 1;
    const finish = [{ seq, body }];
    const messages = this.announcements.ended(current, state, finish, body, false);
    const written = await this.runs.finishUnheld({
      taskId,
      epoch: current.epoch,
      entries: finish,
      messages,
      ...resultColumns(body),
    });
    if (written.fenced) return false;
    this.announcements.written(messages);
    this.feed.announce(taskId, { entry: { seq, at: written.at, body } });
    if (written.next) this.dispatcher.begin(written.next);
    this.metrics.ended(this.agent.definition.id, body.result);
    return true;
  }
}

function finished(view: TaskView): TerminalError {
  return new TerminalError('task-finished', `The task is ${view.status} already`, { status: 409 });
}
