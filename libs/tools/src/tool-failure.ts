const CODE = /^[a-z][a-z0-9_-]{0,63}$/;

/**
 * Thrown by a handler for a failure that it expects: the model sees `code` and `message` and works around it.
 * Anything else that a handler throws reaches the model as `tool-error` without its message.
 */
export class ToolFailure extends Error {
  /** @param code stable, `^[a-z][a-z0-9_-]{0,63}$`, e.g. `not_configured`. @param message for the model; no secrets. */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = 'ToolFailure';
    if (!CODE.test(code)) throw new TypeError(`"${code}" is not a failure code`);
  }
}
