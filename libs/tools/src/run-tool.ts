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
  const abort = () => controller.abort(context.signal.reason);
  if (context.signal.aborted) abort();
  else context.signal.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(() => controller.abort(new TimeoutReached()), timeoutMs);
  try {
    const work = Promise.resolve().then(() =>
      tool.handler(params, { ...context, signal: controller.signal }),
    );
    return succeeded(await Promise.race([work, rejectOnAbort(controller.signal)]));
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
    context.signal.removeEventListener('abort', abort);
  }
}

class TimeoutReached extends Error {}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(signal.reason);
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
}

/** `undefined` becomes null; a function, a cycle or a BigInt is the handler's mistake. */
function succeeded(result: unknown): ToolOutcome {
  const text = JSON.stringify(result ?? null);
  if (text === undefined) throw new TypeError('the result cannot be written as JSON');
  return { ok: true, result: result ?? null };
}
