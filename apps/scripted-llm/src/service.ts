import { bool, loadConfig, str, type Env, type ServiceDefinition } from '#libs/chassis';
import { TerminalError } from '#libs/contracts';
import { ChatController } from './chat/chat.controller.js';
import { EmbeddingsController } from './embeddings.controller.js';
import { ModelsController } from './models.controller.js';
import { openAiError } from './openai-error.js';
import { ScenarioController } from './scenarios/scenario.controller.js';
import { ScenarioStore } from './scenarios/scenario.store.js';

const CONFIG = {
  BATON_ENV: str({ default: 'production', choices: ['development', 'production'] }),
  BATON_ALLOW_SCRIPTED: bool({
    default: false,
    desc: 'Start in production all the same, e.g. for a load test',
  }),
};

const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** @throws TerminalError `configuration` in production: its words must not be taken for a model's. */
export default function service(env: Env): ServiceDefinition {
  const config = loadConfig(env, CONFIG);
  if (config.BATON_ENV === 'production' && !config.BATON_ALLOW_SCRIPTED)
    throw new TerminalError(
      'configuration',
      'scripted-llm is no real model and does not start in production; set BATON_ENV=development or BATON_ALLOW_SCRIPTED=1',
    );
  return {
    name: 'scripted-llm',
    description: 'OpenAI-compatible model that follows rules and scripts; for development and tests',
    imports: [],
    controllers: [ChatController, EmbeddingsController, ModelsController, ScenarioController],
    providers: [ScenarioStore],
    maxBodyBytes: MAX_BODY_BYTES,
    errorBody: openAiError,
  };
}
