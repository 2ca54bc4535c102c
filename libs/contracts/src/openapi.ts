import { PROBLEM_MEDIA_TYPE } from './problem.js';
import { TASK_STATUSES } from './task.js';

const text = { type: 'string' };
const nullableText = { type: 'string', nullable: true };
const count = { type: 'integer', minimum: 0 };

/** `TaskView` as an OpenAPI 3.0 schema. */
export const TASK_VIEW_SCHEMA = {
  type: 'object',
  properties: {
    task_id: { type: 'string', format: 'uuid' },
    status: { type: 'string', enum: [...TASK_STATUSES] },
    output: nullableText,
    error: nullableText,
    steps_used: count,
    tokens_used: count,
    tool_calls: count,
    duration_ms: count,
    agent_id: text,
    session_id: text,
    error_detail: nullableText,
    cancel_requested: { type: 'boolean' },
    created_at: { type: 'string', format: 'date-time' },
    started_at: { type: 'string', format: 'date-time', nullable: true },
    finished_at: { type: 'string', format: 'date-time', nullable: true },
  },
};

/** `TaskPage` as an OpenAPI 3.0 schema. */
export const TASK_PAGE_SCHEMA = {
  type: 'object',
  properties: { tasks: { type: 'array', items: TASK_VIEW_SCHEMA }, next_cursor: nullableText },
};

/** What a submission answers. */
export const SUBMITTED_SCHEMA = {
  type: 'object',
  properties: { task_id: { type: 'string', format: 'uuid' }, status: text },
};

/** `Problem` as the content of an OpenAPI 3.0 response. */
export const PROBLEM_CONTENT = {
  [PROBLEM_MEDIA_TYPE]: {
    schema: {
      type: 'object',
      properties: {
        type: text,
        title: text,
        status: { type: 'integer' },
        detail: text,
        code: text,
        errors: { type: 'array', items: { type: 'object', properties: { field: text, message: text } } },
      },
    },
  },
};
