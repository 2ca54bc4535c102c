import { messageOf, type ToolOutcome } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import type { Tool, ToolContext } from './tool.js';
import { ToolFailure } from './tool-failure.js';

/**
 * Runs a handler and always ends in an outcome: at `timeoutMs` with `timeout` even when the handler ignores its signal;
 * with `tool-error` when it throws something unexpected or returns what JSON cannot say.
 */
export async function runTool(
  tool: Tool,
  params: unknown,
  context: ToolContext,
  timeoutMs: number,
  logger: Logger,
): Promise<ToolOutcome> {
  const controller = new AbortController();
  let giveUp!: (reason: unknown) => void;
  const givenUp = new Promise<never>((_, reject) => {
    giveUp = (reason) => {
      controller.abort(reason);
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- a signal's reason is the caller's own
      reject(reason);
    };
  });
  const hungUp = () => giveUp(context.signal.reason);
  if (context.signal.aborted) hungUp();
  else context.signal.addEventListener('abort', hungUp, { once: true });
  const timer = setTimeout(() => giveUp(new TimeoutReached()), timeoutMs);
  try {
    const work = Promise.resolve().then(() =>
      tool.handler(params, { ...context, signal: controller.signal }),
    );
    return succeeded(await Promise.race([work, givenUp]));
  } catch (error) {
    if (controller.signal.reason instanceof TimeoutReached)
      return { ok: false, code: 'timeout', message: `${tool.name} did not answer within ${timeoutMs} ms` };
    if (error instanceof ToolFailure) return { ok: false, code: error.code, message: error.message };
    if (context.signal.aborted)
      logger.debug({ tool: tool.name, request_id: context.requestId }, 'tool call ended: its caller hung up');
    else
      logger.error(
        { tool: tool.name, request_id: context.requestId, err: messageOf(error) },
        'tool handler failed',
      );
    return { ok: false, code: 'tool-error', message: `${tool.name} failed unexpectedly` };
  } finally {
    clearTimeout(timer);
    context.signal.removeEventListener('abort', hungUp);
  }
}

class TimeoutReached extends Error {}

/** `undefined` becomes null; a function, a cycle or a BigInt is the handler's mistake. */
function succeeded(result: unknown): ToolOutcome {
  const text = JSON.stringify(result ?? null);
  if (text === undefined) throw new TypeError('the result cannot be written as JSON');
  return { ok: true, result: result ?? null };
}
