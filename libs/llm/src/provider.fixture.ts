import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  url: string;
  headers: IncomingMessage['headers'];
  body: Record<string, unknown>;
  /** The connection's port at the client: equal ports are one connection. */
  connection: number;
}

export type Answer = (response: ServerResponse, received: Received) => unknown;

/** A provider on a real socket that answers as the spec says; `/models` has its own answer. */
export async function startProvider() {
  const received: Received[] = [];
  const provider = {
    received,
    answer: ((response) => response.writeHead(500).end()) as Answer,
    models: ((response) => json(response, { object: 'list', data: [] })) as Answer,
    baseUrl: '',
    close: () => {
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      const item: Received = {
        url: request.url!,
        headers: request.headers,
        body: text ? (JSON.parse(text) as Record<string, unknown>) : {},
        connection: request.socket.remotePort!,
      };
      if (item.url === '/v1/models') return void provider.models(response, item);
      received.push(item);
      void provider.answer(response, item);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  provider.baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return provider;
}

export function json(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** Streams chat completion chunks; `end` false leaves the stream open. */
export function stream(response: ServerResponse, chunks: object[], end = true): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const chunk of chunks) response.write(`data: ${JSON.stringify({ model: 'big-model', ...chunk })}\n\n`);
  if (end) response.end('data: [DONE]\n\n');
}

export const delta = (content: object, finishReason: string | null = null) => ({
  choices: [{ index: 0, delta: content, finish_reason: finishReason }],
});

export const usage = (prompt: number, completion: number) => ({
  choices: [],
  usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion },
});
