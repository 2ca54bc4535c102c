import type { Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { RetryableError } from '#libs/contracts';

/** One dispatch of a task; `dispatchNo` makes the job id new when a task is dispatched again. */
export interface Dispatch {
  taskId: string;
  dispatchNo: number;
}

export type RunJob = Job<{ taskId: string }>;

/** BullMQ keeps nothing of an ended job: the truth about tasks is in Postgres. */
const JOB_OPTIONS = { removeOnComplete: true, removeOnFail: true, attempts: 1 } as const;

const jobId = ({ taskId, dispatchNo }: Dispatch): string => `${taskId}-${dispatchNo}`;

/**
 * The BullMQ queue `agent.run.<agent>`. Adding is idempotent per dispatch while its job exists.
 * Every call has its own deadline because BullMQ waits for a lost Redis: a timeout means "unknown", and the relay adds again.
 */
export class WorkQueue {
  constructor(
    private readonly queue: Queue,
    private readonly redis: Redis,
    private readonly deadlineMs = 2000,
  ) {}

  /** @throws RetryableError `queue-unavailable` */
  async add(dispatches: Dispatch[]): Promise<void> {
    if (dispatches.length === 0) return;
    // BullMQ would keep the command in memory until Redis is back.
    if (this.redis.status !== 'ready') throw new RetryableError('queue-unavailable', 'Redis is away');
    const jobs = dispatches.map((dispatch) => ({
      name: 'run',
      data: { taskId: dispatch.taskId },
      opts: { ...JOB_OPTIONS, jobId: jobId(dispatch) },
    }));
    await this.bounded(this.queue.addBulk(jobs));
  }

  /** How many jobs no worker has taken yet. @throws RetryableError `queue-unavailable` */
  waiting(): Promise<number> {
    return this.bounded(this.redis.llen(this.queue.toKey('wait')));
  }

  /** Those of `dispatches` that have no job in Redis. @throws RetryableError `queue-unavailable` */
  async missing(dispatches: Dispatch[]): Promise<Dispatch[]> {
    const found = await this.bounded(
      Promise.all(dispatches.map((dispatch) => this.redis.exists(this.queue.toKey(jobId(dispatch))))),
    );
    return dispatches.filter((_, i) => found[i] === 0);
  }

  private async bounded<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new RetryableError('queue-unavailable', 'Redis did not answer in time')),
        this.deadlineMs,
      );
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
