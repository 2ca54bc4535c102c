import { createLogger } from '#libs/telemetry';
import type { EntryBody, JournalEntry, LiveDelta, ModelEntry, ToolOutcome } from '#libs/contracts';
import type { ChatReply, ChatRequest } from '#libs/llm';
import type { ToolCall } from '#libs/tools';
import type { FeedItem } from './feed.js';
import type { Announcements } from './handoff/announcements.js';
import { Lease } from './lease.js';
import { Runner } from './run.js';
import type { ClaimedTask } from './store/claimed-task.js';
import type { Append, Finish } from './store/run.repository.js';

export const TOOLS = ['lookup', 'write'];

/** What a fake model and fake tools do: functions of the step alone, so that two runs of one script are comparable. */
export interface Script {
  /** @param step from 0. @param attempt of this step, from 1 */
  model: (step: number, attempt: number, request: ChatRequest) => ModelEntry | Promise<ModelEntry>;
  tool: (call: ToolCall) => ToolOutcome | Promise<ToolOutcome>;
}

export interface Ran {
  journal: EntryBody[];
  finish: Finish | null;
  /** Whether the dead letter of a failed task says that the task may be tried again. */
  retryable: boolean | null;
  /** Steps of the model calls that were made. */
  asked: number[];
  called: ToolCall[];
  /** What watchers were told between the entries. */
  told: LiveDelta[];
  /** Most tool calls at the same time. */
  parallel: number;
}

export interface Options {
  task?: Partial<ClaimedTask>;
  /** The journal that an earlier worker left. */
  left?: EntryBody[];
  /** Writes from this sequence on are refused: another worker has the task. */
  fencedFrom?: number;
  onLease?: (lease: Lease) => void;
}

/** Runs a script through the real runner, with a journal in memory. */
export async function runScript(
  script: Script,
  { task, left = [], fencedFrom = Infinity, onLease }: Options = {},
): Promise<Ran> {
  const ran: Ran = {
    ...{ journal: [...left], finish: null, retryable: null },
    ...{ asked: [], called: [], told: [], parallel: 0 },
  };
  const claimed: ClaimedTask = {
    id: '11111111-1111-4111-8111-111111111111',
    epoch: 1,
    tenant: 'acme',
    userId: 'ada',
    scopes: ['tasks:write'],
    token: 'token',
    sessionId: 's',
    prompt: 'What is up?',
    metadata: {},
    maxSteps: 10,
    tokenBudget: 8192,
    traceparent: null,
    replyTo: null,
    streamSteps: false,
    retryCount: 0,
    elapsedMs: 0,
    cancelRequested: false,
    crashes: 0,
    remainingMs: 60_000,
    resumed: left.length > 0,
    ...task,
  };
  const lease = new Lease(claimed, performance.now(), 60_000, async () => undefined);
  onLease?.(lease);
  const attempts = new Map<number, number>();
  let now = 0;
  const write = (entries: Array<{ seq: number; body: EntryBody }>) => {
    if (entries[0]!.seq >= fencedFrom) return { fenced: true as const };
    for (const { seq, body } of entries) {
      if (seq !== ran.journal.length + 1) throw new Error(`entry ${seq} after ${ran.journal.length}`);
      ran.journal.push(body);
    }
    return null;
  };
  const fakes = {
    agent: {
      definition: {
        id: 'agent-x',
        description: 'x',
        systemPrompt: 'You search.',
        tools: TOOLS,
        limits: { maxSteps: 10, tokenBudget: 8192 },
      },
      config: { MODEL_TIMEOUT_MS: 1000 },
    },
    llm: {
      state: () => ({ ok: true, model: 'test', scripted: true }),
      complete: async (request: ChatRequest): Promise<ChatReply> => {
        const step = request.messages.filter(({ role }) => role === 'assistant').length;
        ran.asked.push(step);
        attempts.set(step, (attempts.get(step) ?? 0) + 1);
        const reply = await script.model(step, attempts.get(step)!, request);
        return {
          content: reply.content,
          toolCalls: reply.tool_calls,
          finishReason: reply.finish_reason,
          usage: reply.usage,
          model: reply.model,
        };
      },
    },
    tools: {
      list: async () =>
        TOOLS.map((name) => ({ name, version: '1.0.0', description: name, parameters: { type: 'object' } })),
      invoke: async (call: ToolCall) => {
        ran.called.push(call);
        ran.parallel = Math.max(ran.parallel, (now += 1));
        try {
          return await script.tool(call);
        } finally {
          now -= 1;
        }
      },
    },
    runs: {
      entries: async (): Promise<JournalEntry[]> => left.map((body, i) => ({ seq: i + 1, at: '', body })),
      append: async ({ seq, body }: Append) =>
        write([{ seq, body }]) ?? { fenced: false as const, at: '', cancelRequested: false },
      finish: async (finish: Finish) => {
        const refused = write(finish.entries);
        if (!refused) ran.finish = finish;
        return refused ?? { fenced: false as const, at: '', next: null };
      },
    },
    feed: {
      announce: (_taskId: string, item: FeedItem) => void ('delta' in item && ran.told.push(item.delta)),
    },
    announcements: {
      appended: () => [],
      ended: (...[, , , , retryable]: Parameters<Announcements['ended']>) => {
        ran.retryable = retryable;
        return [];
      },
      written: () => undefined,
    },
    dispatcher: { begin: () => undefined },
    metrics: { ended: () => undefined, modelReplied: () => undefined, toolCalled: () => undefined },
    logger: createLogger('test', 'silent'),
  };
  const parts = Object.values(fakes) as unknown as ConstructorParameters<typeof Runner>;
  await new Runner(...parts).run(lease);
  return ran;
}
