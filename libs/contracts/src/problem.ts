import type { BatonError, FieldError } from './errors.js';

/** RFC 9457 problem details; the media type is `application/problem+json`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  /** Stable code: the suffix of `type`. */
  code: string;
  errors?: FieldError[];
}

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';
const PROBLEM_BASE = 'https://baton.dev/problems/';

export function problemOf(error: BatonError): Problem {
  return {
    type: PROBLEM_BASE + error.code,
    title: error.code.replace(/[-_]/g, ' '),
    status: error.status,
    detail: error.message,
    code: error.code,
    ...(error.errors ? { errors: error.errors } : {}),
  };
}
