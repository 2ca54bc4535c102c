import type { Response } from 'express';

/** Reason of work that ends because the client closed the connection before it had its answer: no error of the service. */
export class ClientLeft extends Error {
  constructor() {
    super('the client left before its answer');
    this.name = 'ClientLeft';
  }
}

/** Aborts with `ClientLeft` when the connection closes before `response` is written, or when it has done so already. */
export function clientLeft(response: Response): AbortSignal {
  const left = new AbortController();
  const onClose = () => void (response.writableFinished || left.abort(new ClientLeft()));
  if (response.closed) onClose();
  else response.once('close', onClose);
  return left.signal;
}
