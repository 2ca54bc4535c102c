import { httpUrl, str } from '#libs/chassis';

/** Where the model is; made by `loadConfig(env, LLM_CONFIG)`. */
export interface LlmConfig {
  OPENAI_API_KEY: string;
  OPENAI_BASE_URL: string;
  BATON_MODEL: string;
}

/** Where embeddings come from; made by `loadConfig(env, EMBEDDING_CONFIG)`. An empty model means feature hashing. */
export interface EmbeddingConfig {
  OPENAI_API_KEY: string;
  OPENAI_BASE_URL: string;
  BATON_EMBEDDING_MODEL: string;
}

const ENDPOINT_CONFIG = {
  OPENAI_API_KEY: str({ default: 'none', desc: 'Key of the OpenAI-compatible API; local servers want none' }),
  OPENAI_BASE_URL: httpUrl({
    default: 'https://api.openai.com/v1',
    desc: 'OpenAI, Ollama, vLLM, …, with its /v1',
  }),
};

/** Variables of a service that asks a chat model. */
export const LLM_CONFIG = {
  ...ENDPOINT_CONFIG,
  BATON_MODEL: str({ default: 'gpt-4o-mini', desc: 'Name of the chat model' }),
};

/** Variables of a service that embeds text. */
export const EMBEDDING_CONFIG = {
  ...ENDPOINT_CONFIG,
  BATON_EMBEDDING_MODEL: str({
    default: '',
    desc: 'Name of the embedding model; empty: local feature hashing',
  }),
};
