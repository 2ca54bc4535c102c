import { Inject, Injectable } from '@nestjs/common';
import {
  BatonError,
  messageOf,
  RetryableError,
  type EntryBody,
  type ModelEntry,
  type ToolsEntry,
} from '#libs/contracts';
import { backoffMs, failpoint, LOGGER } from '#libs/chassis';
import { LLM, type ChatMessage, type Llm, type ToolSpec } from '#libs/llm';
import type { Logger } from '#libs/telemetry';
import { ToolClient } from '#libs/tools';
import { AGENT, type Agent } from './agent.js';
import { DeltaStream } from './delta-stream.js';
import { Dispatcher } from './dispatcher.js';
import { TaskFeed } from './feed.js';
import { Announcements } from './handoff/announcements.js';
import { Stopped, type Lease } from './lease.js';
import { buildMessages, estimateTokens } from './loop/context.js';
import { endingAfter, finishEntry, obstacleOf, resultColumns } from './loop/endings.js';
import { callModel, MODEL_ATTEMPTS } from './loop/model-call.js';
import { next, type Ending } from './loop/next.js';
import { apply, replay, type RunState } from './loop/state.js';
import { waitForRetry, type RetryReason } from './loop/retry-wait.js';
import { storable } from './loop/storable.js';
import { makeCalls, type Pinned } from './loop/tool-calls.js';
import { RunMetrics } from './run-metrics.js';
import { RunRepository } from './store/run.repository.js';

const SLOW_MS = 150;

/** Runs one claimed task to its end: replay, then plan → act → observe, journal before act. */
@Injectable()
export class Runner {
  constructor(
    @Inject(AGENT) private readonly agent: Agent,
    @Inject(LLM) private readonly llm: Llm,
    @Inject(ToolClient) private readonly tools: ToolClient,
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(TaskFeed) private readonly feed: TaskFeed,
    @Inject(Announcements) private readonly announcements: Announcements,
    @Inject(Dispatcher) private readonly dispatcher: Dispatcher,
    @Inject(RunMetrics) private readonly metrics: RunMetrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Resolves when the task has ended or is no longer this worker's; never rejects. */
  async run(lease: Lease): Promise<void> {
    const run = new Run(lease);
    const deadline = setTimeout(() => lease.stop('deadline'), lease.remainingMs());
    try {
      if (lease.task.resumed) {
        const entries = await lease.persist(() => this.runs.entries(lease.task.id));
        run.state = replay(entries.map(({ body }) => body));
      }
      const obstacle = obstacleOf(lease, run.state);
      await (obstacle ? this.end(run, [], obstacle) : this.loop(run));
    } catch (error) {
      await this.endAfter(error, run);
    } finally {
      clearTimeout(deadline);
    }
  }

  private async loop(run: Run): Promise<void> {
    const { task } = run.lease;
    for (;;) {
      const specs = await this.specs(run);
      let built: ChatMessage[] | undefined;
      const messages = () =>
        (built ??= buildMessages(this.agent.definition.systemPrompt, task.prompt, run.state));
      const action = next(run.state, task, () => estimateTokens(messages(), specs));
      run.lease.signal.throwIfAborted();
      switch (action.do) {
        case 'model': {
          const reply = await this.askModel(run, {
            messages: messages(),
            tools: specs,
            maxTokens: action.maxTokens,
          });
          const after = next(apply(run.state, reply), task, () => 0);
          // The last reply and the result are one commit.
          if (after.do === 'finish') return this.end(run, [reply], after.ending);
          await this.append(run, reply);
          break;
        }
        case 'tools': {
          const results = await makeCalls(
            this.tools,
            action.calls,
            run.state.turns.length,
            run.pinned(),
            run.lease,
            (tool) => this.announceSlow(task.id, 'tool_started', tool),
          );
          this.countCalls(results, run.pinned());
          await this.append(run, { kind: 'tools', results });
          break;
        }
        case 'finish':
          return this.end(run, [], action.ending);
        case 'nothing':
          return;
      }
    }
  }

  private async askModel(
    run: Run,
    request: { messages: ChatMessage[]; tools: ToolSpec[]; maxTokens: number },
  ): Promise<ModelEntry> {
    const { lease } = run;
    const deltas = new DeltaStream((text) =>
      this.feed.announce(lease.task.id, { delta: { kind: 'delta', text } }),
    );
    const started = performance.now();
    const onReply = this.announceSlow(lease.task.id, 'model_started', this.llm.state().model);
    try {
      const reply = await callModel(
        this.llm,
        {
          ...request,
          timeoutMs: this.agent.config.MODEL_TIMEOUT_MS,
          onDelta: (text) => deltas.push(text),
          traceparent: lease.task.traceparent,
        },
        lease,
        ({ code, message }, attempt, ms) =>
          this.waitAndTell(lease, { code, text: message, attempt, max_attempts: MODEL_ATTEMPTS }, ms),
      );
      this.metrics.modelReplied(this.agent.definition.id, reply.usage);
      return storable({
        kind: 'model',
        content: reply.content,
        tool_calls: reply.toolCalls,
        finish_reason: reply.finishReason,
        usage: reply.usage,
        model: reply.model,
        duration_ms: Math.round(performance.now() - started),
        ...(run.state.turns.length === 0 ? { pinned: run.pinned() } : {}),
      });
    } finally {
      onReply();
      deltas.close();
    }
  }

  /** Watchers hear of what takes longer than a blink; the rest they see when it is done. Call the answer at its end. */
  private announceSlow(taskId: string, kind: 'model_started' | 'tool_started', text: string): () => void {
    const timer = setTimeout(() => this.feed.announce(taskId, { delta: { kind, text } }), SLOW_MS);
    return () => clearTimeout(timer);
  }

  private waitAndTell(lease: Lease, reason: RetryReason, ms: number): Promise<void> {
    return waitForRetry(reason, ms, lease, (delta) => this.feed.announce(lease.task.id, { delta }));
  }

  /** The tools that the registry offers this agent, asked for once per claim. */
  private async specs(run: Run): Promise<ToolSpec[]> {
    for (let attempt = 1; !run.specs; attempt += 1) {
      try {
        const offered = await this.tools.list(run.lease.signal);
        run.offer(offered.filter(({ name }) => this.agent.definition.tools.includes(name)));
      } catch (error) {
        run.lease.signal.throwIfAborted();
        if (!(error instanceof RetryableError)) throw error;
        // The error's message has the registry's address, which is nobody's business.
        const reason = { code: error.code, text: 'The tool registry does not answer', attempt };
        await this.waitAndTell(run.lease, reason, backoffMs(attempt - 1));
      }
    }
    return run.specs;
  }

  private async append(run: Run, body: EntryBody): Promise<void> {
    const { lease } = run;
    const { id: taskId, epoch } = lease.task;
    const seq = run.state.seq + 1;
    await failpoint('run.before-journal');
    const messages = this.announcements.appended(lease.task, run.state, { seq, body });
    const written = await lease.persist(() => this.runs.append({ taskId, epoch, seq, body, messages }));
    if (written.fenced) return this.lost(lease);
    this.announcements.written(messages);
    await failpoint('run.after-journal');
    run.state = apply(run.state, body);
    this.feed.announce(taskId, { entry: { seq, at: written.at, body } });
    if (written.cancelRequested) lease.stop('cancelled');
  }

  /** The final transaction. `last` are entries that were not yet journalled. */
  private async end(run: Run, last: EntryBody[], ending: Ending): Promise<void> {
    const { lease } = run;
    const { id: taskId, epoch } = lease.task;
    const state = last.reduce(apply, run.state);
    const finish = finishEntry(taskId, state, ending, lease.elapsedMs());
    const entries = [...last, finish].map((body, i) => ({ seq: run.state.seq + 1 + i, body }));
    const messages = this.announcements.ended(
      lease.task,
      run.state,
      entries,
      finish,
      ending.retryable ?? false,
    );
    await failpoint('run.before-finish');
    const written = await lease.persist(() =>
      this.runs.finish({ taskId, epoch, entries, messages, ...resultColumns(finish) }),
    );
    if (written.fenced) return this.lost(lease);
    run.ended = true;
    this.announcements.written(messages);
    await failpoint('run.after-finish');
    for (const { seq, body } of entries) this.feed.announce(taskId, { entry: { seq, at: written.at, body } });
    if (written.next) this.dispatcher.begin(written.next);
    this.metrics.ended(this.agent.definition.id, finish.result);
    const { status, error, steps_used, tokens_used, tool_calls, duration_ms } = finish.result;
    this.logger.info(
      { task_id: taskId, epoch, status, error, steps_used, tokens_used, tool_calls, duration_ms },
      'agent.task.ended',
    );
  }

  private async endAfter(error: unknown, run: Run): Promise<void> {
    const reason = error instanceof Stopped ? error.reason : null;
    const { id: task_id, epoch } = run.lease.task;
    if (reason === 'lease_lost' || reason === 'handed_over') {
      this.logger.info({ task_id, epoch, reason }, 'agent.task.left');
      return;
    }
    try {
      // An error after the final write changes nothing of the result.
      if (!run.ended) await this.end(run, [], endingAfter(error, reason, run.state));
    } catch (failure) {
      // Nothing is lost: the lease runs out and another worker goes on from the journal.
      this.logger.error(
        { task_id, epoch, err: messageOf(failure), stack: (failure as Error)?.stack },
        'agent.task.not-ended',
      );
    }
    if (!reason)
      this.logger.warn(
        {
          task_id,
          epoch,
          err: messageOf(error),
          stack: error instanceof BatonError ? undefined : (error as Error)?.stack,
        },
        'agent.task.failed',
      );
  }

  private lost(lease: Lease): never {
    lease.stop('lease_lost');
    throw new Stopped('lease_lost');
  }

  private countCalls(results: ToolsEntry['results'], pinned: Pinned): void {
    for (const { name, outcome } of results)
      this.metrics.toolCalled(this.agent.definition.id, name, Object.hasOwn(pinned, name), outcome.ok);
  }
}

/** What one claim of a task knows. */
class Run {
  state: RunState = replay([]);
  specs?: ToolSpec[];
  /** The result is written. */
  ended = false;
  private offered: Pinned = {};

  constructor(readonly lease: Lease) {}

  offer(tools: Array<ToolSpec & { version: string }>): void {
    const fixed = this.state.turns[0]?.reply.pinned;
    // A version that appeared after the first reply is not shown: the calls go to the fixed one.
    const shown = fixed ? tools.filter(({ name, version }) => fixed[name] === version) : tools;
    this.specs = shown.map(({ name, description, parameters }) => ({ name, description, parameters }));
    this.offered = Object.fromEntries(tools.map(({ name, version }) => [name, version]));
  }

  /** Versions are fixed by the first reply; until there is one, by what the registry offers. */
  pinned(): Pinned {
    return this.state.turns[0]?.reply.pinned ?? this.offered;
  }
}
