import { messageOf, type AgentResult } from '#libs/contracts';
import { developerToken } from '../identity/developer.js';
import { ensureHost, INTERRUPTED } from '../stack/detach.js';
import { changedSettings, Stack, urlOf } from '../stack/stack.js';
import { followTask } from './follow.js';
import { Gateway } from './gateway.js';
import { closingLine, Progress } from './progress.js';
import { readPrompt } from './prompt.js';

export interface RunOptions {
  words: string[];
  agent: string;
  json: boolean;
}

/** How long a cancelled task may take to say that it has ended. */
const CANCEL_MS = 10_000;

/** Gives the agent the task and follows it. The exit code is 0 for a completed task, 130 after Ctrl-C, else 1. */
export async function run({ words, agent, json }: RunOptions): Promise<number> {
  const prompt = await readPrompt(words, process.stdin);
  const stack = new Stack();
  const progress = new Progress(
    (text) => process.stderr.write(text),
    process.stderr.isTTY ? process.stderr.columns : null,
  );
  const host = await ensureHost(stack, false, (line) => progress.line(line));
  const changed = changedSettings(host, stack);
  if (changed) progress.line(changed);
  const gateway = new Gateway(urlOf(host, 'gateway'), await developerToken(stack, host));
  try {
    const scripted = isScripted(gateway, agent);
    const taskId = await gateway.submit(agent, prompt);
    progress.line(`▸ task ${taskId} for ${agent}`);
    const { result, interrupted } = await followUntilEnd(gateway, taskId, progress);
    const detail = result.error
      ? ((await gateway.task(taskId).catch(() => null))?.error_detail ?? null)
      : null;
    progress.line(closingLine(result, detail));
    if (result.status === 'completed' && (await scripted))
      progress.line(
        '  The scripted model answered, not a real one: set OPENAI_API_KEY or OPENAI_BASE_URL, and BATON_MODEL.',
      );
    if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
    else if (result.output !== null) process.stdout.write(`${result.output}\n`);
    if (interrupted) return INTERRUPTED;
    return result.status === 'completed' ? 0 : 1;
  } finally {
    await gateway.close();
  }
}

/** Only for a line of information: the task does not depend on it. */
async function isScripted(gateway: Gateway, agent: string): Promise<boolean> {
  try {
    return (await gateway.agents()).some(
      (card) => card.scripted && (card.name === agent || card.id === agent),
    );
  } catch {
    return false;
  }
}

/** The first Ctrl-C cancels the task and waits for its end; a second one leaves at once. */
async function followUntilEnd(
  gateway: Gateway,
  taskId: string,
  progress: Progress,
): Promise<{ result: AgentResult; interrupted: boolean }> {
  const giveUp = new AbortController();
  let interrupted = false;
  const onInterrupt = () => {
    if (interrupted) process.exit(INTERRUPTED);
    interrupted = true;
    progress.line('Cancelling the task … (Ctrl-C again leaves at once)');
    setTimeout(
      () => giveUp.abort(new Error(`The task has not ended within ${CANCEL_MS / 1000} s`)),
      CANCEL_MS,
    ).unref();
    gateway.cancel(taskId).catch((error: unknown) => progress.line(`Not cancelled: ${messageOf(error)}`));
  };
  process.on('SIGINT', onInterrupt).on('SIGTERM', onInterrupt);
  try {
    const result = await followTask({
      open: (lastSeq, signal) => gateway.events(taskId, lastSeq, signal),
      onNews: (news) => progress.show(news),
      onLost: (cause) => progress.line(`Connection lost (${cause}); connecting again …`),
      signal: giveUp.signal,
    });
    return { result, interrupted };
  } catch (error) {
    progress.line(
      `${messageOf(giveUp.signal.aborted ? giveUp.signal.reason : error)}. The task is kept and goes on when Baton is up (./baton up): GET ${gateway.url}/v1/tasks/${taskId}`,
    );
    if (interrupted) process.exit(INTERRUPTED);
    throw error;
  } finally {
    process.off('SIGINT', onInterrupt).off('SIGTERM', onInterrupt);
  }
}
