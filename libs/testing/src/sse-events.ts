import { createParser } from 'eventsource-parser';

export interface SseEvent {
  /** Undefined for events without `id:`. */
  id: string | undefined;
  event: string | undefined;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into whatever came
  data: any;
}

/** The events of a stream as they arrive, their data parsed as JSON. @throws when the connection breaks before its end */
export async function* sseEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<SseEvent> {
  const arrived: SseEvent[] = [];
  const parser = createParser({
    onEvent: ({ id, event, data }) => arrived.push({ id, event, data: JSON.parse(data) as unknown }),
  });
  const text = new TextDecoder();
  for await (const chunk of body) {
    parser.feed(text.decode(chunk, { stream: true }));
    yield* arrived.splice(0);
  }
}
