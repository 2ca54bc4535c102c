import { Metadata, status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { problemOf, RetryableError, TerminalError, type BatonError, type Problem } from '#libs/contracts';
import { retryAfterOf } from '../retry-after.js';

/** Trailer that holds the problem (RFC 9457) as JSON. */
export const PROBLEM_TRAILER = 'baton-problem-bin';
const RETRY_AFTER = 'retry-after';

/** The family of an error is its HTTP status. */
const STATUS: Record<number, status> = {
  400: status.INVALID_ARGUMENT,
  401: status.UNAUTHENTICATED,
  403: status.PERMISSION_DENIED,
  404: status.NOT_FOUND,
  405: status.UNIMPLEMENTED,
  408: status.DEADLINE_EXCEEDED,
  409: status.FAILED_PRECONDITION,
  413: status.RESOURCE_EXHAUSTED,
  422: status.INVALID_ARGUMENT,
  429: status.RESOURCE_EXHAUSTED,
  503: status.UNAVAILABLE,
  504: status.DEADLINE_EXCEEDED,
};

/** Where gRPC tells apart what HTTP calls 409. */
const CONFLICTS: Record<string, status> = {
  'idempotency-key-in-flight': status.ABORTED,
  'task-id-taken': status.ALREADY_EXISTS,
};

/** Headers of an error that travel as trailers. */
const HEADERS = ['ratelimit', 'ratelimit-policy', 'www-authenticate', 'allow'];

/** How a gRPC door answers an error. */
export function statusOf(error: BatonError): StatusObject {
  const metadata = new Metadata();
  metadata.set(PROBLEM_TRAILER, Buffer.from(JSON.stringify(problemOf(error))));
  for (const name of HEADERS) {
    const value = error.headers?.[name];
    if (value !== undefined) metadata.set(name, value);
  }
  const retryAfter = retryAfterOf(error);
  if (retryAfter !== undefined) metadata.set(RETRY_AFTER, retryAfter);
  return {
    code:
      (error.status === 409 ? CONFLICTS[error.code] : undefined) ?? STATUS[error.status] ?? status.INTERNAL,
    details: error.message.toWellFormed(),
    metadata,
  };
}

/** What a call's failure says when the answer came from gRPC itself and not from a Baton service. */
const WITHOUT_PROBLEM: Partial<Record<status, [httpStatus: number, code: string]>> = {
  [status.INVALID_ARGUMENT]: [400, 'malformed-request'],
  [status.UNAUTHENTICATED]: [401, 'unauthenticated'],
  [status.PERMISSION_DENIED]: [403, 'forbidden'],
  [status.RESOURCE_EXHAUSTED]: [502, 'message-too-large'],
  [status.UNIMPLEMENTED]: [501, 'not-implemented'],
};

/** The error behind a failed call of `service`: `statusOf` read backwards, so that every door tells it in the same words. */
export function errorOf(failure: ServiceError, service: string): BatonError {
  const problem = problemIn(failure.metadata);
  if (problem) return fromProblem(problem, failure);
  if (failure.code === status.UNAVAILABLE)
    return new RetryableError('unreachable', `${service} is unreachable: ${failure.details}`, {
      cause: failure,
    });
  if (failure.code === status.DEADLINE_EXCEEDED)
    return new RetryableError('timeout', `No answer from ${service} in time`, {
      status: 504,
      cause: failure,
    });
  const [httpStatus, code] = WITHOUT_PROBLEM[failure.code] ?? [502, 'call-failed'];
  const message = `${service} answered ${status[failure.code]}: ${failure.details}`;
  return httpStatus === 502 && code === 'call-failed'
    ? new RetryableError(code, message, { status: httpStatus, cause: failure })
    : new TerminalError(code, message, { status: httpStatus, cause: failure });
}

function fromProblem({ code, detail, status: httpStatus, errors }: Problem, cause: ServiceError): BatonError {
  const trailer = (name: string) => cause.metadata.get(name)[0]?.toString();
  const headers: Record<string, string> = {};
  for (const name of HEADERS) {
    const value = trailer(name);
    if (value !== undefined) headers[name] = value;
  }
  const retryAfter = trailer(RETRY_AFTER);
  const options = { status: httpStatus, errors, cause };
  if (httpStatus >= 500 || httpStatus === 429 || httpStatus === 408)
    return new RetryableError(code, detail, {
      ...options,
      headers,
      retryAfterMs: retryAfter === undefined ? undefined : Number(retryAfter) * 1000,
    });
  if (retryAfter !== undefined) headers[RETRY_AFTER] = retryAfter;
  return new TerminalError(code, detail, { ...options, headers });
}

/** A problem that cannot be read does not change what the status says. */
function problemIn(metadata: Metadata | undefined): Problem | null {
  const [bytes] = metadata?.get(PROBLEM_TRAILER) ?? [];
  if (bytes === undefined) return null;
  try {
    return JSON.parse(bytes.toString()) as Problem;
  } catch {
    return null;
  }
}
