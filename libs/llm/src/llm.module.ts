import { Module, type DynamicModule } from '@nestjs/common';
import { EMBEDDER, HashEmbedder } from './embedding.js';
import type { EmbeddingConfig, LlmConfig } from './llm.config.js';
import { LLM } from './llm.js';
import { OpenAiEmbedder } from './openai-embedding.js';
import { OpenAiLlm } from './openai.js';

@Module({})
class LlmModule {}

@Module({})
class EmbedderModule {}

/** Provides `LLM` to the whole service; its connections and timer end with the service. */
export function llmModule(config: LlmConfig): DynamicModule {
  const useFactory = () =>
    new OpenAiLlm({
      apiKey: config.OPENAI_API_KEY,
      baseUrl: config.OPENAI_BASE_URL,
      model: config.BATON_MODEL,
    });
  return { module: LlmModule, global: true, providers: [{ provide: LLM, useFactory }], exports: [LLM] };
}

/** Provides `EMBEDDER` to the whole service: OpenAI embeddings when a model is configured, feature hashing otherwise. */
export function embedderModule(config: EmbeddingConfig): DynamicModule {
  const useFactory = () =>
    config.BATON_EMBEDDING_MODEL === ''
      ? new HashEmbedder()
      : new OpenAiEmbedder({
          apiKey: config.OPENAI_API_KEY,
          baseUrl: config.OPENAI_BASE_URL,
          model: config.BATON_EMBEDDING_MODEL,
        });
  return {
    module: EmbedderModule,
    global: true,
    providers: [{ provide: EMBEDDER, useFactory }],
    exports: [EMBEDDER],
  };
}
