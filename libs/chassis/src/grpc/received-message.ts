import type { MethodDefinition } from '@grpc/grpc-js';
import { TerminalError } from '#libs/contracts';

/** Stands for a message that cannot be used; the pipe raises its error once the caller is known. */
export class MalformedMessage {
  constructor(private readonly detail: string) {}

  get error(): TerminalError {
    return new TerminalError('malformed-request', this.detail, { status: 400 });
  }
}

/**
 * A deserializer that answers `MalformedMessage` for bytes that are no message, and for texts that no door takes: invalid UTF-8
 * (protobufjs puts U+FFFD in its place) and NUL. Left alone, gRPC answers INTERNAL for the first and says nothing of the others.
 */
export function strictly<T>(deserialize: MethodDefinition<T, unknown>['requestDeserialize']) {
  return (bytes: Buffer): T | MalformedMessage => {
    let message: T;
    try {
      message = deserialize(bytes);
    } catch {
      return new MalformedMessage('The message cannot be read');
    }
    const texts = [...textsIn(message)];
    if (texts.some((text) => text.includes('\0')))
      return new MalformedMessage('A text holds a NUL character');
    const replaced = texts.reduce((sum, text) => sum + occurrences(text, '\ufffd'), 0);
    if (replaced > 0 && replaced > occurrences(bytes.toString('latin1'), '\xef\xbf\xbd'))
      return new MalformedMessage('A text is not valid UTF-8');
    return message;
  };
}

function* textsIn(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null && !Buffer.isBuffer(value))
    for (const [key, part] of Object.entries(value)) {
      yield key;
      yield* textsIn(part);
    }
}

const occurrences = (text: string, part: string): number => text.split(part).length - 1;
