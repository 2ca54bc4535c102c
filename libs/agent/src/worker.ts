import { OnWorkerEvent, Processor, WorkerHost } from '@nestjs/bullmq';
import { Inject, Injectable, type BeforeApplicationShutdown, type Type } from '@nestjs/common';
import { backoffMs, failpoint, LOGGER, pause } from '#libs/chassis';
import { BatonError, messageOf } from '#libs/contracts';
import type { RunJob } from '#libs/messaging';
import type { Logger } from '#libs/telemetry';
import type { Agent } from './agent.js';
import { Dispatcher, queueName } from './dispatcher.js';
import { Leases } from './lease.js';
import { LocalRuns } from './local-runs.js';
import { Runner } from './run.js';
import { RunRepository } from './store/run.repository.js';

/** BullMQ's lock only says that a job is being looked at; who may write is the lease's business. */
const LOCK_MS = 15_000;
const STALL_SWEEP_MS = 5000;
/** A write of a run that is just ending may get in the way once or twice. */
const HAND_OVER_ATTEMPTS = 4;
const LEFT_TO_RECONCILER = 'run not begun; the reconciler dispatches the task again';

/**
 * The BullMQ worker of one agent. A job is a hint that a task may be claimable: a job that comes twice, late or for an ended
 * task is done at once.
 */
export function createWorker({ definition, config }: Agent): Type<WorkerHost> {
  @Injectable()
  @Processor(queueName(definition.id), {
    concurrency: config.WORKER_CONCURRENCY,
    lockDuration: LOCK_MS,
    stalledInterval: STALL_SWEEP_MS,
    // The job that BullMQ would give up is dispatched again by the reconciler.
    maxStalledCount: 1000,
  })
  class AgentWorker extends WorkerHost implements BeforeApplicationShutdown {
    private readonly draining = new AbortController();

    constructor(
      @Inject(Leases) private readonly leases: Leases,
      @Inject(Runner) private readonly runner: Runner,
      @Inject(RunRepository) private readonly runs: RunRepository,
      @Inject(Dispatcher) private readonly dispatcher: Dispatcher,
      @Inject(LocalRuns) private readonly local: LocalRuns,
      @Inject(LOGGER) private readonly logger: Logger,
    ) {
      super();
      local.open((taskId) =>
        this.work(taskId).catch((error: unknown) =>
          logger.warn({ task_id: taskId, err: messageOf(error) }, LEFT_TO_RECONCILER),
        ),
      );
    }

    process(job: RunJob): Promise<void> {
      return this.work(job.data.taskId);
    }

    private async work(taskId: string): Promise<void> {
      await failpoint('worker.before-claim');
      const lease = await this.claim(taskId);
      if (!lease) return;
      try {
        await failpoint('worker.after-claim');
        // A claim that was under way when the drain began.
        if (this.draining.signal.aborted) await this.handOver([lease.task]);
        else await this.runner.run(lease);
      } finally {
        this.leases.drop(lease);
      }
    }

    private async claim(taskId: string) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await this.leases.claim(taskId);
        } catch (error) {
          if (!(error instanceof BatonError && error.retryable)) throw error;
          await pause(backoffMs(attempt - 1), this.draining.signal);
        }
      }
    }

    /** Drain: no new jobs, running tasks are handed over at their next await, then the worker closes. */
    async beforeApplicationShutdown(): Promise<void> {
      this.draining.abort(new Error('draining'));
      this.local.close();
      await this.worker
        .pause(true)
        .catch((error: unknown) => this.logger.warn({ err: messageOf(error) }, 'worker not paused'));
      const held = this.leases.stopAll();
      if (held.length > 0) await this.handOver(held);
      await Promise.all([this.worker.close(), this.local.ended()]);
    }

    private async handOver(held: Array<{ id: string; epoch: number }>): Promise<void> {
      for (let attempt = 1; attempt <= HAND_OVER_ATTEMPTS; attempt += 1)
        try {
          const dispatches = await this.runs.release(held);
          for (const dispatch of dispatches) this.dispatcher.tell(dispatch);
          this.logger.info({ tasks: dispatches.length }, 'handed over');
          return;
        } catch (error) {
          // After the last attempt their leases run out instead.
          this.logger.warn({ tasks: held.length, attempt, err: messageOf(error) }, 'not handed over');
        }
    }

    @OnWorkerEvent('error')
    onError(error: Error): void {
      this.logger.debug({ err: error.message }, 'worker connection');
    }

    @OnWorkerEvent('failed')
    onFailed(job: RunJob | undefined, error: Error): void {
      this.logger.warn({ task_id: job?.data.taskId, err: error.message }, LEFT_TO_RECONCILER);
    }
  }
  return AgentWorker;
}
