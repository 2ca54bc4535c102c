import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { LOGGER } from '#libs/chassis';
import { BatonError, messageOf } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import { AGENT, type Agent } from './agent.js';
import { heldKey, type ClaimedTask } from './store/claimed-task.js';
import { RunRepository } from './store/run.repository.js';

/** Why a run stops before its end. After `lease_lost` and `handed_over` it writes nothing more. */
export type StopReason = 'cancelled' | 'deadline' | 'lease_lost' | 'handed_over';

export class Stopped extends Error {
  constructor(readonly reason: StopReason) {
    super(`stopped: ${reason}`);
  }
}

const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 1000;

/** One worker's right to a task. Its signal aborts everything that the run waits for. */
export class Lease {
  private readonly controller = new AbortController();
  private readonly claimedAt = performance.now();
  private mayWrite = true;

  /** @param confirmedAt local monotonic time (ms) of the last request that Postgres confirmed */
  constructor(
    readonly task: ClaimedTask,
    private confirmedAt: number,
    private readonly leaseMs: number,
    private readonly renew: () => Promise<void>,
  ) {}

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Milliseconds to the task's deadline, at least 0. */
  remainingMs(): number {
    return Math.max(0, this.task.remainingMs - (performance.now() - this.claimedAt));
  }

  /** Milliseconds since the task's acceptance. */
  elapsedMs(): number {
    return Math.round(this.task.elapsedMs + performance.now() - this.claimedAt);
  }

  /** The first reason is the signal's; losing the right to write counts whenever it happens. */
  stop(reason: StopReason): void {
    this.controller.abort(new Stopped(reason));
    if (reason === 'lease_lost' || reason === 'handed_over') this.mayWrite = false;
  }

  confirmed(at: number): void {
    this.confirmedAt = at;
  }

  /**
   * Called before every model and tool call: a process that was paused for longer than its lease asks Postgres first
   * whether the task is still its own.
   */
  async assertHeld(): Promise<void> {
    while (!this.signal.aborted && performance.now() - this.confirmedAt >= this.leaseMs) {
      await this.renew();
      if (performance.now() - this.confirmedAt >= this.leaseMs) await sleep(RETRY_MIN_MS);
    }
    this.signal.throwIfAborted();
  }

  /** Repeats a write while Postgres is away, for as long as this worker may write. Writes are safe to repeat: they are known by place and epoch. */
  async persist<T>(write: () => Promise<T>): Promise<T> {
    for (let pause = RETRY_MIN_MS; ; pause = Math.min(pause * 2, RETRY_MAX_MS)) {
      if (!this.mayWrite) throw new Stopped('lease_lost');
      try {
        return await write();
      } catch (error) {
        if (!(error instanceof BatonError && error.retryable)) throw error;
      }
      await sleep(pause);
    }
  }
}

/** All leases of this process; one statement renews them. */
@Injectable()
export class Leases implements OnApplicationShutdown {
  private readonly held = new Set<Lease>();
  private readonly timer: NodeJS.Timeout;
  private renewing?: Promise<void>;
  private readonly leaseMs: number;

  constructor(
    @Inject(AGENT) agent: Agent,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.leaseMs = agent.config.LEASE_MS;
    this.timer = setInterval(() => void this.renewAll(), this.leaseMs / 3);
  }

  /** @returns null when the task is not to be had: see `RunRepository.claim` */
  async claim(taskId: string): Promise<Lease | null> {
    const asked = performance.now();
    const task = await this.runs.claim(taskId, this.leaseMs);
    if (!task) return null;
    const lease = new Lease(task, asked, this.leaseMs, () => this.renewAll());
    // The task's former run in this very process is superseded like one anywhere else.
    for (const other of this.held) if (other.task.id === taskId) other.stop('lease_lost');
    this.held.add(lease);
    return lease;
  }

  /** The run is over: whatever still works for it is stopped. */
  drop(lease: Lease): void {
    this.held.delete(lease);
    lease.stop('lease_lost');
  }

  /** Raises the cancel flag of a task that this process runs. */
  cancel(taskId: string): void {
    for (const lease of this.held) if (lease.task.id === taskId) lease.stop('cancelled');
  }

  /** Stops every run and returns what has to be released. */
  stopAll(): Array<{ id: string; epoch: number }> {
    const leases = [...this.held];
    for (const lease of leases) lease.stop('handed_over');
    return leases.map(({ task: { id, epoch } }) => ({ id, epoch }));
  }

  private renewAll(): Promise<void> {
    return (this.renewing ??= this.renewOnce().finally(() => (this.renewing = undefined)));
  }

  private async renewOnce(): Promise<void> {
    const leases = [...this.held];
    if (leases.length === 0) return;
    const asked = performance.now();
    try {
      const renewed = await this.runs.renew(
        leases.map(({ task: { id, epoch } }) => ({ id, epoch })),
        this.leaseMs,
      );
      for (const lease of leases) {
        const answer = renewed.get(heldKey(lease.task));
        if (answer) lease.confirmed(asked);
        // A run that ended meanwhile has left `held`; what is still there belongs to another epoch now.
        if (!answer && this.held.has(lease)) lease.stop('lease_lost');
        if (answer?.cancelRequested) lease.stop('cancelled');
      }
    } catch (error) {
      this.logger.warn({ err: messageOf(error), held: leases.length }, 'leases not renewed');
    }
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer);
  }
}
