/** One invalid field of a request: `field` is a dotted path into the body, query or header; `message` names the fix. */
export interface FieldError {
  field: string;
  message: string;
}

export interface ErrorOptions {
  /** HTTP status that a REST door answers; other doors map the code's family from it. Default 500 (terminal), 503 (retryable). */
  status?: number;
  errors?: FieldError[];
  cause?: unknown;
  /** Extra HTTP headers of the answer, e.g. `Allow` or `RateLimit`. */
  headers?: Record<string, string>;
}

/**
 * Base of every error that Baton raises on purpose. `code` is stable and part of the API
 * (the suffix of the problem type, and `error` of a failed task); `message` is for people and never
 * holds a secret, a prompt or a model's output.
 */
export abstract class BatonError extends Error {
  abstract readonly retryable: boolean;
  readonly status: number;
  readonly errors?: FieldError[];
  readonly headers?: Record<string, string>;

  constructor(
    readonly code: string,
    message: string,
    options: ErrorOptions & { status: number },
  ) {
    super(message, { cause: options.cause });
    this.name = new.target.name;
    this.status = options.status;
    this.errors = options.errors;
    this.headers = options.headers;
  }
}

/** Trying again cannot help: the request, the configuration or the answer is wrong. */
export class TerminalError extends BatonError {
  readonly retryable = false;
  constructor(code: string, message: string, options: ErrorOptions = {}) {
    super(code, message, { ...options, status: options.status ?? 500 });
  }
}

/** The same call may succeed later. `retryAfterMs` is the earliest useful moment (milliseconds), when known. */
export class RetryableError extends BatonError {
  readonly retryable = true;
  readonly retryAfterMs?: number;
  constructor(code: string, message: string, options: ErrorOptions & { retryAfterMs?: number } = {}) {
    super(code, message, { ...options, status: options.status ?? 503 });
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** A request whose fields break the contract: 400 `validation`, every field named. */
export function validationError(errors: FieldError[]): TerminalError {
  const fields = new Set(errors.map(({ field }) => field));
  return new TerminalError('validation', `Invalid fields: ${[...fields].join(', ')}`, {
    status: 400,
    errors,
  });
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
