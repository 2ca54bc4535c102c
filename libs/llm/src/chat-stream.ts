import { StringDecoder } from 'node:string_decoder';
import { createParser } from 'eventsource-parser';
import type { ChatCompletionChunk } from 'openai/resources/chat/completions';
import type { ByteSource } from './lean-fetch.js';
import { unavailable } from './openai-errors.js';

/** Characters that one event of a stream may have. */
const MAX_EVENT_CHARS = 16 * 1024 * 1024;
const LAST_EVENT = '[DONE]';

/**
 * Reads the chunks of a streamed completion: server-sent events of JSON, the last one `[DONE]`. The SDK's own reader costs several
 * times as much, in generators within generators. @throws RetryableError `model_unavailable` for an error or nonsense in the stream
 */
export async function readChunks(
  body: ByteSource,
  take: (chunk: ChatCompletionChunk) => void,
): Promise<void> {
  let isDone = false;
  const parser = createParser({
    maxBufferSize: MAX_EVENT_CHARS,
    onEvent: ({ data }) => {
      isDone ||= data.startsWith(LAST_EVENT);
      if (!isDone) take(chunkIn(data));
    },
    onError: ({ type }) => {
      if (type === 'max-buffer-size-exceeded')
        throw unavailable("An event of the model's stream is too long");
    },
  });
  const decoder = new StringDecoder('utf8');
  let hasBegun = false;
  await body.read((bytes) => {
    const text = decoder.write(bytes);
    // A stream may begin with a byte order mark.
    parser.feed(!hasBegun && text.startsWith('\uFEFF') ? text.slice(1) : text);
    hasBegun ||= text !== '';
  });
}

function chunkIn(data: string): ChatCompletionChunk {
  let chunk: (ChatCompletionChunk & { error?: unknown }) | null;
  try {
    chunk = JSON.parse(data) as typeof chunk;
  } catch {
    throw unavailable("The model's stream is not JSON");
  }
  if (typeof chunk !== 'object' || chunk === null || chunk.error)
    throw unavailable('The model reported an error within its stream');
  return chunk;
}
