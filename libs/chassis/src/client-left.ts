import type { FastifyReply } from 'fastify';

/** Reason of work that ends because the client closed the connection before it had its answer: no error of the service. */
export class ClientLeft extends Error {
  constructor() {
    super('the client left before its answer');
    this.name = 'ClientLeft';
  }
}

/** Aborts with `ClientLeft` when the connection closes before the answer is written, or when it has done so already. */
export function clientLeft({ raw }: Pick<FastifyReply, 'raw'>): AbortSignal {
  const left = new AbortController();
  const onClose = () => void (raw.writableFinished || left.abort(new ClientLeft()));
  if (raw.closed) onClose();
  else raw.once('close', onClose);
  return left.signal;
}
