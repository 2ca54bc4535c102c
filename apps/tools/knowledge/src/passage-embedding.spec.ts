import { RetryableError, TerminalError } from '#libs/contracts';
import type { Database } from '#libs/database';
import type { Embedder } from '#libs/llm';
import { createLogger } from '#libs/telemetry';
import { PassageEmbedding } from './passage-embedding.js';
import type { PassageRepository } from './passages.repository.js';

/** `bodies` wait for their vectors; the embedder refuses those with "long", and all of them when `down`. */
function newEmbedding(bodies: string[], down: Error | null = null) {
  const saved: string[] = [];
  const batches: number[] = [];
  const rows = bodies.map((body, i) => ({ id: String(i + 1), heading: '', body }));
  const passages: Pick<PassageRepository, 'missingVectors' | 'saveVectors'> = {
    missingVectors: (_name, _document, after, limit) =>
      Promise.resolve(
        rows.filter(({ id }) => Number(id) > Number(after) && !saved.includes(id)).slice(0, limit),
      ),
    saveVectors: (_name, vectors) => {
      saved.push(...vectors.map(({ passageId }) => passageId));
      return Promise.resolve();
    },
  };
  const embedder: Embedder = {
    name: 'fake',
    lexical: false,
    embed: (texts) => {
      batches.push(texts.length);
      if (down) return Promise.reject(down);
      if (texts.some((text) => text.includes('long')))
        return Promise.reject(new TerminalError('model_request_rejected', 'too long'));
      return Promise.resolve(texts.map(() => Float32Array.of(1)));
    },
  };
  const database = { whenReady: new Promise<void>(() => undefined) } as Database;
  const sut = new PassageEmbedding(
    passages as PassageRepository,
    embedder,
    database,
    createLogger('test', 'silent'),
  );
  return { sut, saved, batches };
}

describe('PassageEmbedding', () => {
  it('embeds all that is missing, in bounded batches', async () => {
    const { sut, saved, batches } = newEmbedding(Array(150).fill('text'));
    expect(await sut.embedDocument('1', 1000)).toBe(true);
    expect(saved).toHaveLength(150);
    expect(batches).toEqual([64, 64, 22]);
    sut.onModuleDestroy();
  });

  it('lets a refused text harm no other', async () => {
    const { sut, saved } = newEmbedding(['a', 'too long', 'b']);
    expect(await sut.embedDocument('1', 1000)).toBe(false);
    expect(saved).toEqual(['1', '3']);
    sut.onModuleDestroy();
  });

  it('stops asking a model that refuses everything', async () => {
    const { sut, saved, batches } = newEmbedding(
      Array(64).fill('text'),
      new TerminalError('model_request_rejected', 'no key'),
    );
    expect(await sut.embedDocument('1', 1000)).toBe(false);
    expect(saved).toEqual([]);
    expect(batches).toEqual([64, 1, 1, 1]);
    sut.onModuleDestroy();
  });

  it('does not ask again at once when the model is away', async () => {
    const { sut, batches } = newEmbedding(['a', 'b'], new RetryableError('model_unavailable', 'away'));
    expect(await sut.embedDocument('1', 1000)).toBe(false);
    expect(batches).toEqual([2]);
    sut.onModuleDestroy();
  });

  it('ends with the service', async () => {
    const { sut, batches } = newEmbedding(['a']);
    sut.onModuleDestroy();
    expect(await sut.embedDocument('1', 1000)).toBe(false);
    expect(batches).toEqual([]);
  });
});
