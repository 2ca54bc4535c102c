import { getEventListeners } from 'node:events';
import { createLogger } from '#libs/telemetry';
import { runTool } from './run-tool.js';
import { defineTool, type ToolSpec } from './tool.js';
import { ToolFailure } from './tool-failure.js';

const logger = createLogger('test', 'silent');

function run(handler: ToolSpec['handler'], { timeoutMs = 1000, signal = new AbortController().signal } = {}) {
  const tool = defineTool({
    name: 'a_tool',
    version: '1.0.0',
    description: 'd',
    effect: 'read',
    parameters: { type: 'object' },
    returns: {},
    handler,
  });
  const context = {
    tenant: 't',
    userId: null,
    agentId: 'agent-a',
    idempotencyKey: null,
    requestId: 'r',
    signal,
  };
  return runTool(tool, {}, context, timeoutMs, logger);
}

describe('runTool', () => {
  it('answers what the handler returns, and null for nothing', async () => {
    expect(await run(() => ({ a: 1 }))).toEqual({ ok: true, result: { a: 1 } });
    expect(await run(() => undefined)).toEqual({ ok: true, result: null });
  });

  it('shows the model a failure that the handler expects', async () => {
    const failing = () => {
      throw new ToolFailure('not_configured', 'no provider');
    };
    expect(await run(failing)).toEqual({ ok: false, code: 'not_configured', message: 'no provider' });
  });

  it.each<[string, ToolSpec['handler']]>([
    [
      'throws',
      () => {
        throw new Error('secret');
      },
    ],
    ['rejects', () => Promise.reject(new Error('secret'))],
    [
      'throws nothing',
      () => {
        throw undefined;
      },
    ],
    ['returns a function', () => () => 'secret'],
    ['returns a BigInt', () => ({ secret: 1n })],
    [
      'returns a cycle',
      () => {
        const secret: unknown[] = [];
        secret.push(secret);
        return secret;
      },
    ],
  ])('keeps to itself why a handler %s', async (_, handler) => {
    expect(await run(handler)).toEqual({
      ok: false,
      code: 'tool-error',
      message: 'a_tool failed unexpectedly',
    });
  });

  it('ends at the timeout even when the handler ignores its signal', async () => {
    let aborted = false;
    const outcome = await run(
      (_, { signal }) => {
        signal.onabort = () => (aborted = true);
        return new Promise(() => undefined);
      },
      { timeoutMs: 30 },
    );
    expect(outcome).toMatchObject({ ok: false, code: 'timeout' });
    expect(aborted).toBe(true);
  });

  it('aborts the handler when the caller hangs up, which is no error', async () => {
    const logged = jest.spyOn(logger, 'error');
    const controller = new AbortController();
    const reasons: unknown[] = [];
    const outcome = run(
      (_, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.onabort = () => {
            reasons.push(signal.reason);
            reject(signal.reason);
          };
        }),
      { signal: controller.signal },
    );
    setTimeout(() => controller.abort('gone'), 10);
    expect(await outcome).toMatchObject({ ok: false, code: 'tool-error' });
    expect(reasons).toEqual(['gone']);
    expect(logged).not.toHaveBeenCalled();
  });

  it('ends at once when the caller hung up before', async () => {
    const outcome = await run(() => new Promise(() => undefined), { signal: AbortSignal.abort('gone') });
    expect(outcome).toMatchObject({ ok: false, code: 'tool-error' });
  });

  it("leaves nothing at its caller's signal", async () => {
    const { signal } = new AbortController();
    await run(() => 1, { signal });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});
