import { AuthModule, type AuthConfig } from '#libs/auth';
import { startService, type RunningService } from '#libs/chassis';
import { defineTool, serveTools, ToolFailure, type ToolContext } from '#libs/tools';
import { TEST_TOOLS } from './test-tool-names.js';

/** One effect of a tool that writes. */
export interface Effect {
  key: string;
  text: string;
  tenant: string;
  userId: string | null;
}

const TEXT = {
  type: 'object',
  properties: { text: { type: 'string' } },
  required: ['text'],
  additionalProperties: false,
};
const LIMITS = { rateLimit: 100_000, timeoutMs: 60_000 };
/** Short, because the registry waits for it before it takes over a call whose registry died. */
const EFFECT_TIMEOUT_MS = 1000;

/**
 * The tools of `agent-test`, served by the test's own process, so that no fault of the stack reaches their ledger:
 * `test_echo` answers `{text}`, `test_fail` fails, `test_hold` waits until `release()` or until its call is aborted,
 * `test_record` (write) adds to `effects`; so do `test_transfer`, whose outcome is unknown after a second, and `test_upsert`, which
 * recognises a repeated key itself.
 */
export class TestTools {
  /** Every effect that happened, in order. */
  readonly effects: Effect[] = [];
  /** Texts of every call by tool, in order. */
  readonly calls: Record<string, string[]> = Object.fromEntries(TEST_TOOLS.map((name) => [name, []]));
  /** Idempotency keys of the same calls. */
  readonly keys: Record<string, Array<string | null>> = Object.fromEntries(
    TEST_TOOLS.map((name) => [name, []]),
  );
  /** Texts of `test_hold` calls that were aborted. */
  readonly aborted: string[] = [];
  private readonly held = new Set<() => void>();
  private readonly released = new Set<string>();
  private beforeEffect: (text: string) => Promise<void> = async () => undefined;
  private afterEffect: (text: string) => Promise<void> = async () => undefined;
  private service?: RunningService;

  /** Runs `before` and `after` around every later effect, e.g. to kill somebody right there. */
  aroundEffect(around: {
    before?: (text: string) => Promise<void>;
    after?: (text: string) => Promise<void>;
  }): void {
    this.beforeEffect = around.before ?? (async () => undefined);
    this.afterEffect = around.after ?? (async () => undefined);
  }

  /** Lets `test_hold` calls with this text go, those that are waiting and later ones. */
  release(text: string): void {
    this.released.add(text);
    for (const check of this.held) check();
  }

  /** How often each key had its effect. */
  effectsByKey(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { key } of this.effects) counts.set(key, (counts.get(key) ?? 0) + 1);
    return counts;
  }

  async start(config: AuthConfig, registryUrl: string): Promise<void> {
    this.service = await startService(
      () => ({
        name: 'tools-test',
        description: 'Tools of the tests',
        imports: [
          AuthModule.forRoot({ service: 'tools-test', config, allowedCallers: ['tool-registry'] }),
          serveTools({ tools: this.tools(), registryUrl }),
        ],
      }),
      { PORT: '0', HOST: '127.0.0.1', LOG_LEVEL: 'silent' },
    );
  }

  get url(): string {
    if (!this.service) throw new Error('not started');
    return this.service.url;
  }

  async stop(): Promise<void> {
    await this.service?.stop();
  }

  private tools() {
    return [
      defineTool<{ text: string }>({
        ...LIMITS,
        name: 'test_echo',
        version: '1.0.0',
        description: 'Says it again',
        effect: 'read',
        parameters: TEXT,
        returns: TEXT,
        handler: ({ text }, { idempotencyKey }) => {
          this.called('test_echo', text, idempotencyKey);
          return { text };
        },
      }),
      defineTool<{ text: string }>({
        ...LIMITS,
        name: 'test_fail',
        version: '1.0.0',
        description: 'Fails',
        effect: 'read',
        parameters: TEXT,
        returns: TEXT,
        handler: ({ text }, { idempotencyKey }) => {
          this.called('test_fail', text, idempotencyKey);
          throw new ToolFailure('test_failed', text);
        },
      }),
      defineTool<{ text: string }>({
        ...LIMITS,
        name: 'test_hold',
        version: '1.0.0',
        description: 'Waits',
        effect: 'read',
        parameters: TEXT,
        returns: TEXT,
        handler: async ({ text }, { idempotencyKey, signal }) => {
          this.called('test_hold', text, idempotencyKey);
          await this.hold(text, signal);
          return { text };
        },
      }),
      defineTool<{ text: string }>({
        ...LIMITS,
        name: 'test_record',
        version: '1.0.0',
        description: 'Changes something',
        effect: 'write',
        parameters: TEXT,
        returns: TEXT,
        handler: ({ text }, context) => this.record('test_record', text, context),
      }),
      defineTool<{ text: string }>({
        ...LIMITS,
        timeoutMs: EFFECT_TIMEOUT_MS,
        name: 'test_transfer',
        version: '1.0.0',
        description: 'Changes something, every time that it is called',
        effect: 'write',
        parameters: TEXT,
        returns: TEXT,
        handler: ({ text }, context) => this.record('test_transfer', text, context),
      }),
      defineTool<{ text: string }>({
        ...LIMITS,
        timeoutMs: EFFECT_TIMEOUT_MS,
        name: 'test_upsert',
        version: '1.0.0',
        description: 'Changes something, once per key',
        effect: 'write',
        idempotent: true,
        parameters: TEXT,
        returns: TEXT,
        handler: async ({ text }, context) => {
          const repeated = this.keys['test_upsert']!.includes(context.idempotencyKey);
          if (!repeated) return this.record('test_upsert', text, context);
          this.called('test_upsert', text, context.idempotencyKey);
          return { text };
        },
      }),
    ];
  }

  private called(tool: string, text: string, key: string | null): void {
    this.calls[tool]!.push(text);
    this.keys[tool]!.push(key);
  }

  private async record(
    tool: string,
    text: string,
    { idempotencyKey, tenant, userId }: ToolContext,
  ): Promise<{ text: string }> {
    this.called(tool, text, idempotencyKey);
    await this.beforeEffect(text);
    this.effects.push({ key: idempotencyKey!, text, tenant, userId });
    await this.afterEffect(text);
    return { text };
  }

  private hold(text: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = () => {
        this.held.delete(check);
        signal.removeEventListener('abort', abort);
      };
      const check = () => {
        if (!this.released.has(text)) return;
        end();
        resolve();
      };
      const abort = () => {
        end();
        this.aborted.push(text);
        reject(signal.reason as Error);
      };
      this.held.add(check);
      signal.addEventListener('abort', abort);
      check();
    });
  }
}
