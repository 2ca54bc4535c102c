import type { ChatCompletionChunk } from 'openai/resources/chat/completions';
import type { FinishReason, ModelToolCall, TokenUsage } from '#libs/contracts';
import type { ChatReply } from './llm.js';
import { unavailable } from './openai-errors.js';

/** Characters of text and arguments that one reply may have. */
const MAX_REPLY_CHARS = 8 * 1024 * 1024;

const FINISH_REASONS: Record<string, FinishReason> = {
  stop: 'stop',
  length: 'length',
  content_filter: 'content_filter',
  tool_calls: 'tool_calls',
  function_call: 'tool_calls',
};

/** Puts a streamed reply together. Nothing of it can be used before `finish`. */
export class ReplyAssembly {
  private content: string | null = null;
  private readonly calls: ModelToolCall[] = [];
  private finishReason: string | null = null;
  private usage: TokenUsage | null = null;
  private model = '';
  private chars = 0;

  constructor(private readonly onDelta: ((text: string) => void) | undefined) {}

  /** @throws RetryableError `model_unavailable` when the reply grows beyond 8 Mi characters. */
  add(chunk: ChatCompletionChunk): void {
    if (chunk.model) this.model = chunk.model;
    if (isUsage(chunk.usage)) {
      const { prompt_tokens, completion_tokens } = chunk.usage;
      this.usage = { prompt_tokens, completion_tokens };
    }
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const { content, tool_calls: toolCalls, function_call: functionCall } = choice.delta ?? {};
    if (content) {
      this.grow(content);
      this.content = (this.content ?? '') + content;
      this.onDelta?.(content);
    }
    for (const piece of toolCalls ?? []) this.addCall(piece.index, piece.id, piece.function);
    if (functionCall) this.addCall(0, undefined, functionCall);
    if (choice.finish_reason) this.finishReason = choice.finish_reason;
  }

  /**
   * The whole reply.
   * @param estimate the usage when the provider sent none.
   * @throws RetryableError `model_unavailable` when the stream ended before its finish reason.
   */
  finish(model: string, estimate: () => TokenUsage): ChatReply {
    if (this.finishReason === null) throw unavailable("The model's stream ended before its finish reason");
    return {
      content: this.content,
      toolCalls: this.calls.filter(Boolean),
      finishReason: this.mappedReason(this.finishReason),
      usage: this.usage ?? estimate(),
      model: this.model || model,
    };
  }

  /** Some servers finish with `stop` although they call tools. */
  private mappedReason(reason: string): FinishReason {
    const mapped = FINISH_REASONS[reason] ?? 'stop';
    return mapped === 'stop' && this.calls.length > 0 ? 'tool_calls' : mapped;
  }

  /** Some servers leave out the index; there, an id begins a new call. */
  private addCall(
    given: number | undefined,
    id: string | undefined,
    part: { name?: string; arguments?: string } | undefined,
  ): void {
    const index = given ?? (id ? this.calls.length : Math.max(0, this.calls.length - 1));
    if (index < 0 || index > 1023) throw unavailable('The model numbers its tool calls beyond 1,023');
    const call = (this.calls[index] ??= { id: `call_${index}`, name: '', arguments: '' });
    if (id) call.id = id;
    if (part?.name) call.name += part.name;
    if (!part?.arguments) return;
    this.grow(part.arguments);
    call.arguments += part.arguments;
  }

  private grow(text: string): void {
    this.chars += text.length;
    if (this.chars > MAX_REPLY_CHARS) throw unavailable('The model never stops: its reply is too long');
  }
}

const MAX_COUNT = 100_000_000;

/** Some providers send only a part of it, or nonsense: then it counts as not sent. */
function isUsage(usage: TokenUsage | null | undefined): usage is TokenUsage {
  const isCount = (count: unknown) =>
    Number.isInteger(count) && (count as number) >= 0 && (count as number) <= MAX_COUNT;
  return isCount(usage?.prompt_tokens) && isCount(usage?.completion_tokens);
}
