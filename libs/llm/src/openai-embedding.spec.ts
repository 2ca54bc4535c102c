import { loadConfig } from '#libs/chassis';
import { HashEmbedder } from './embedding.js';
import { EMBEDDING_CONFIG } from './llm.config.js';
import { embedderModule } from './llm.module.js';
import { OpenAiEmbedder } from './openai-embedding.js';
import { json, startProvider } from './provider.fixture.js';

describe('OpenAiEmbedder', () => {
  let provider: Awaited<ReturnType<typeof startProvider>>;
  let sut: OpenAiEmbedder;

  beforeEach(async () => {
    provider = await startProvider();
    sut = new OpenAiEmbedder({ apiKey: 'k', baseUrl: provider.baseUrl, model: 'embed-1' });
  });

  afterEach(async () => {
    await sut.onApplicationShutdown();
    await provider.close();
  });

  it('asks in batches and keeps the order of the texts', async () => {
    provider.answer = (response, { body }) => {
      const data = (body['input'] as string[]).map((text, index) => ({
        index,
        embedding: base64([Number(text), 1]),
      }));
      json(response, { data: data.reverse() });
    };
    const vectors = await sut.embed(Array.from({ length: 300 }, (_, index) => String(index)));
    expect(provider.received.map(({ body }) => (body['input'] as string[]).length)).toEqual([128, 128, 44]);
    expect(vectors.map(([first]) => first)).toEqual(Array.from({ length: 300 }, (_, index) => index));
  });

  it('raises what the provider answers, in our own words', async () => {
    provider.answer = (response) =>
      json(response, { error: { message: 'secret words' } }, 429, { 'retry-after': '2' });
    await expect(sut.embed(['text'])).rejects.toMatchObject({
      code: 'model_rate_limited',
      retryAfterMs: 2_000,
    });
    provider.answer = (response) => json(response, { data: [] });
    await expect(sut.embed(['text'])).rejects.toMatchObject({ code: 'model_unavailable' });
  });

  it('ends with the reason of the signal', async () => {
    provider.answer = () => undefined;
    const reason = new Error('cancelled');
    const controller = new AbortController();
    const running = sut.embed(['text'], controller.signal);
    setTimeout(() => controller.abort(reason), 30);
    await expect(running).rejects.toBe(reason);
  });

  it('is used only when a model is configured', async () => {
    const made = (env: Record<string, string>) => {
      const [provided] = embedderModule(loadConfig(env, EMBEDDING_CONFIG)).providers as unknown as [
        { useFactory: () => unknown },
      ];
      return provided.useFactory();
    };
    expect(made({})).toBeInstanceOf(HashEmbedder);
    const remote = made({
      BATON_EMBEDDING_MODEL: 'embed-1',
      OPENAI_BASE_URL: provider.baseUrl,
    }) as OpenAiEmbedder;
    expect(remote.name).toBe('openai-embed-1');
    await remote.onApplicationShutdown();
  });
});

function base64(values: number[]): string {
  return Buffer.from(Float32Array.from(values).buffer).toString('base64');
}
