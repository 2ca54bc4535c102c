export * from './embedding.js';
export * from './feature-hash.js';
export * from './llm.js';
export * from './llm.config.js';
export * from './llm.module.js';
export * from './openai.js';
export * from './openai-embedding.js';
