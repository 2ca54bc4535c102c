export { EMBEDDER, type Embedder } from './embedding.js';
export { contentWords, featureHash, fnv1a } from './feature-hash.js';
export { LLM, type ChatMessage, type ChatReply, type ChatRequest, type Llm, type ToolSpec } from './llm.js';
export { EMBEDDING_CONFIG, LLM_CONFIG } from './llm.config.js';
export { embedderModule, llmModule } from './llm.module.js';
export { OpenAiLlm } from './openai.js';
