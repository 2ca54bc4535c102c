import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { projectRoot } from '#libs/chassis';
import { RetryableError } from '#libs/contracts';
import type { SchemaAnswer, SchemaJob } from './schema.worker.js';

/** Compiled, also when the caller runs under Jest: a worker thread takes no transformation. */
const WORKER_FILE = 'dist/apps/tool-registry/src/schemas/schema.worker.js';
/** Milliseconds that one job may take. */
const LIMIT_MS = 250;
/** Milliseconds for a new thread to load. */
const START_LIMIT_MS = 15_000;
/** A job that overran once gets a second chance on a fresh thread: the machine may have been asleep. */
const MAX_TRIES = 2;
/** Compiled schemas a thread holds before it is replaced. */
const MAX_LOADED = 2000;
const MAX_WAITING = 10_000;

interface Waiting {
  job: SchemaJob;
  tries: number;
  resolve: (answer: SchemaAnswer) => void;
  reject: (error: Error) => void;
}

/**
 * A worker thread for foreign schemas. Jobs are answered in order; one that takes longer than 250 ms, or exhausts the thread's
 * memory, ends as `rejected` and the thread is replaced, without harm to the jobs behind it.
 */
export class SchemaThread {
  private worker?: Worker;
  private ready = false;
  private closed = false;
  private loaded = new Set<string>();
  private readonly waiting: Waiting[] = [];
  /** Jobs for the next message: waking the thread costs more than most jobs. */
  private outbox: SchemaJob[] = [];
  private timer?: NodeJS.Timeout;
  private lastError = 'no answer';

  /** `schema` is known by `key` for good; it must be the same at every call. */
  check(key: string, schema: unknown, value: unknown, root: string): Promise<SchemaAnswer> {
    return this.run({ op: 'check', key, schema, value, root });
  }

  vet(schema: unknown): Promise<SchemaAnswer> {
    return this.run({ op: 'vet', schema });
  }

  /** Loads the thread ahead of the first job. */
  start(): void {
    if (!this.worker && !this.closed) this.spawn();
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    for (const { reject } of this.waiting.splice(0)) reject(unavailable('closed'));
    await this.worker?.terminate();
  }

  private run(job: SchemaJob): Promise<SchemaAnswer> {
    if (this.closed || this.waiting.length >= MAX_WAITING) return Promise.reject(unavailable('overloaded'));
    return new Promise((resolve, reject) => {
      this.waiting.push({ job, tries: 0, resolve, reject });
      this.start();
      if (this.ready) this.post(job);
      if (this.waiting.length === 1) this.watch();
    });
  }

  private spawn(): void {
    const worker = new Worker(join(projectRoot(), WORKER_FILE), {
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 32, stackSizeMb: 4 },
    });
    worker.unref();
    this.worker = worker;
    this.ready = false;
    this.loaded = new Set();
    this.outbox = [];
    worker.on('message', (answer: SchemaAnswer | 'ready') => {
      if (worker !== this.worker) return;
      if (answer === 'ready') this.begin();
      else this.settleFirst(answer);
    });
    worker.on('error', (error: Error) => {
      if (worker !== this.worker) return;
      this.lastError = error.message;
      this.replace();
    });
    this.watch();
  }

  private begin(): void {
    this.ready = true;
    for (const { job } of this.waiting) this.post(job);
    this.watch();
  }

  private post(job: SchemaJob): void {
    const known = job.op === 'check' && this.loaded.has(job.key);
    if (job.op === 'check') this.loaded.add(job.key);
    this.outbox.push(known ? { ...job, schema: undefined } : job);
    if (this.outbox.length === 1) setImmediate(() => this.flush());
  }

  private flush(): void {
    if (this.ready && this.outbox.length > 0) this.worker!.postMessage(this.outbox.splice(0));
  }

  private settleFirst(answer: SchemaAnswer): void {
    const first = this.waiting.shift();
    // A schema that did not compile was not kept.
    if (first?.job.op === 'check' && 'rejected' in answer) this.loaded.delete(first.job.key);
    first?.resolve(answer);
    if (this.waiting.length === 0 && this.loaded.size >= MAX_LOADED) this.dismiss();
    else this.watch();
  }

  /** Runs the clock of the job at the head of the line, or of the thread's start. */
  private watch(): void {
    clearTimeout(this.timer);
    if (this.waiting.length === 0) return;
    const worker = this.worker;
    const first = this.waiting[0];
    this.timer = setTimeout(
      // When this loop was blocked itself, the answer is already there and comes before the check.
      () => setImmediate(() => worker === this.worker && first === this.waiting[0] && this.replace()),
      this.ready ? LIMIT_MS : START_LIMIT_MS,
    ).unref();
  }

  private replace(): void {
    const first = this.waiting[0];
    if (first && ++first.tries >= MAX_TRIES) {
      this.waiting.shift();
      if (this.ready) first.resolve({ rejected: `checking takes longer than ${LIMIT_MS} ms` });
      else first.reject(unavailable(`the thread does not start: ${this.lastError}`));
    }
    this.dismiss();
    if (this.waiting.length > 0) this.start();
  }

  private dismiss(): void {
    clearTimeout(this.timer);
    const worker = this.worker;
    this.worker = undefined;
    this.ready = false;
    void worker?.terminate();
  }
}

function unavailable(cause: string): RetryableError {
  return new RetryableError('schema-check-unavailable', `Schemas cannot be checked: ${cause}`, {
    retryAfterMs: 1000,
  });
}
