import { isTerminal, type JournalEntry, type ModelEntry, type TaskView } from '#libs/contracts';
import type { Effect, TaskApi } from '#libs/testing';

/** Tools whose calls change something; see `TestTools`. */
const WRITES = new Set(['test_record', 'test_transfer', 'test_upsert']);

/** All that the checker sees: what the public API says of a task, and what its tools did. */
export interface History {
  view: TaskView;
  /** Empty while the task has not ended. */
  journal: JournalEntry[];
  effects: Effect[];
}

export async function ended(api: TaskApi, taskId: string, timeoutMs = 60_000): Promise<void> {
  await api.ended(taskId, timeoutMs);
}

export async function historyOf(api: TaskApi, taskId: string, effects: Effect[]): Promise<History> {
  const { status, body } = await api.get(taskId);
  if (status !== 200) throw new Error(`task ${taskId}: ${status} ${JSON.stringify(body)}`);
  const view: TaskView = body;
  return { view, journal: isTerminal(view.status) ? await api.journal(taskId) : [], effects };
}

/** Everything that is wrong with a task; empty when it ended once, with `answer`, and every effect happened exactly once. */
export function faultsOf({ view, journal, effects }: History, answer: string): string[] {
  if (!isTerminal(view.status)) return [`not ended: ${view.status}`];
  return [...resultFaults(view, answer), ...journalFaults(journal, view), ...effectFaults(journal, effects)];
}

function resultFaults(view: TaskView, answer: string): string[] {
  const faults: string[] = [];
  if (view.status !== 'completed' || view.error) faults.push(`ended ${view.status} ${view.error ?? ''}`);
  if (view.output !== answer) faults.push(`wrong answer: ${view.output}`);
  return faults;
}

/** A journal is model, tools, model, …, finish: gapless, and ended once. */
function journalFaults(journal: JournalEntry[], view: TaskView): string[] {
  const faults: string[] = [];
  if (journal.some(({ seq }, i) => seq !== i + 1))
    faults.push(`sequence ${journal.map(({ seq }) => seq).join()}`);
  const kinds = journal.map(({ body }) => body.kind);
  const isRun = kinds.every((kind, i) =>
    i === kinds.length - 1 ? kind === 'finish' : kind === (i % 2 === 0 ? 'model' : 'tools'),
  );
  if (!isRun || kinds.length === 0) faults.push(`journal ${kinds.join() || 'empty'}`);
  const finish = journal.at(-1)?.body;
  if (finish?.kind === 'finish' && finish.result.output !== view.output)
    faults.push('the journal ends otherwise than the task');
  const steps = kinds.filter((kind) => kind === 'model').length;
  if (view.steps_used !== steps) faults.push(`${view.steps_used} steps counted, ${steps} made`);
  return faults;
}

/** Every call that succeeded had its effect once; one whose outcome is unknown at most once; nothing else had any. */
function effectFaults(journal: JournalEntry[], effects: Effect[]): string[] {
  const faults: string[] = [];
  const happened = new Map<string, number>();
  for (const { text } of effects) happened.set(text, (happened.get(text) ?? 0) + 1);
  for (const { text, code } of writesOf(journal)) {
    const times = happened.get(text) ?? 0;
    happened.delete(text);
    if (times > 1) faults.push(`effect ${text} happened ${times} times`);
    if (times === 0 && code === 'ok') faults.push(`effect ${text} is lost`);
    if (times > 0 && code !== 'ok' && code !== 'outcome_unknown')
      faults.push(`effect ${text} happened, and the model was told ${code}`);
  }
  for (const text of happened.keys()) faults.push(`effect ${text} without a journalled call`);
  return faults;
}

/** The calls of writing tools in a journal, with `ok` or the code of their failure. */
export function writesOf(journal: JournalEntry[]): Array<{ text: string; code: string }> {
  return journal.flatMap(({ body }, i) => {
    if (body.kind !== 'tools') return [];
    const reply = journal[i - 1]?.body as ModelEntry;
    return body.results.flatMap(({ name, outcome }, call) =>
      WRITES.has(name)
        ? [{ text: textOf(reply.tool_calls[call]!.arguments), code: outcome.ok ? 'ok' : outcome.code }]
        : [],
    );
  });
}

const textOf = (args: string): string => (JSON.parse(args) as { text: string }).text;

/** The content of each model entry. */
export const repliesOf = ({ journal }: History): Array<string | null> =>
  journal.flatMap(({ body }) => (body.kind === 'model' ? [body.content] : []));
