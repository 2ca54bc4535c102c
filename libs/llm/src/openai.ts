import type { OnApplicationShutdown } from '@nestjs/common';
import type { ChatCompletionCreateParamsStreaming } from 'openai/resources/chat/completions';
import { RetryableError, type TokenUsage } from '#libs/contracts';
import type { ChatReply, ChatRequest, Llm, ModelState } from './llm.js';
import { readChunks } from './chat-stream.js';
import type { ByteSource } from './lean-fetch.js';
import { ModelWatch } from './model-watch.js';
import { connectOpenAi, type OpenAiConnection, type OpenAiEndpoint } from './openai-client.js';
import { modelError } from './openai-errors.js';
import { toOpenAiMessages, toOpenAiTools } from './openai-messages.js';
import { ReplyAssembly } from './reply-assembly.js';

/** Bytes per token where nobody counted: English text has about four. */
const BYTES_PER_TOKEN = 4;

/**
 * The `Llm` port over any OpenAI-compatible chat completions API. Replies are always streamed, and a stream that
 * ends without its finish reason is `model_unavailable` as a whole. When the provider sends no usage, the call is
 * charged with what it could have cost: `maxTokens` for the reply, and the prompt at four bytes a token.
 */
export class OpenAiLlm implements Llm, OnApplicationShutdown {
  private readonly connection: OpenAiConnection;
  private readonly watch: ModelWatch;
  private readonly limitField: 'max_completion_tokens' | 'max_tokens';

  constructor(private readonly options: OpenAiEndpoint & { model: string }) {
    this.connection = connectOpenAi(options);
    this.watch = new ModelWatch(this.connection.client, options.model);
    // OpenAI's reasoning models refuse `max_tokens`, some compatible servers know nothing else.
    this.limitField =
      new URL(options.baseUrl).hostname === 'api.openai.com' ? 'max_completion_tokens' : 'max_tokens';
  }

  async complete(request: ChatRequest): Promise<ChatReply> {
    request.signal.throwIfAborted();
    const controller = new AbortController();
    const cancel = () => controller.abort(request.signal.reason);
    const timer = setTimeout(() => controller.abort(timeoutError(request.timeoutMs)), request.timeoutMs);
    request.signal.addEventListener('abort', cancel, { once: true });
    try {
      const { body } = await this.connection.client.chat.completions
        .create(this.bodyOf(request), {
          signal: controller.signal,
          timeout: request.timeoutMs + 1_000,
          ...(request.traceparent ? { headers: { traceparent: request.traceparent } } : {}),
        })
        .asResponse();
      const reply = new ReplyAssembly(request.onDelta);
      await readChunks(body as unknown as ByteSource, (chunk) => reply.add(chunk));
      return reply.finish(this.options.model, () => estimateUsage(request));
    } catch (error) {
      if (controller.signal.aborted) throw controller.signal.reason;
      throw modelError(error);
    } finally {
      clearTimeout(timer);
      request.signal.removeEventListener('abort', cancel);
    }
  }

  state(): ModelState {
    return this.watch.current();
  }

  async onApplicationShutdown(): Promise<void> {
    this.watch.stop();
    await this.connection.close();
  }

  private bodyOf(request: ChatRequest): ChatCompletionCreateParamsStreaming {
    return {
      model: this.options.model,
      messages: toOpenAiMessages(request.messages),
      tools: toOpenAiTools(request.tools),
      [this.limitField]: request.maxTokens,
      stream: true,
      stream_options: { include_usage: true },
    };
  }
}

function timeoutError(timeoutMs: number): RetryableError {
  return new RetryableError('model_timeout', `The model did not answer within ${timeoutMs} ms`, {
    status: 504,
  });
}

function estimateUsage({ messages, tools, maxTokens }: ChatRequest): TokenUsage {
  const bytes = Buffer.byteLength(JSON.stringify([messages, tools]));
  return { prompt_tokens: Math.ceil(bytes / BYTES_PER_TOKEN), completion_tokens: maxTokens };
}
