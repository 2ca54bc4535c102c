export * from './config.js';
export * from './deadline.js';
export * from './failpoint.js';
export { Readiness, type ReadyCheck } from './health.js';
export * from './http-client.js';
export { sendProblem, type ErrorBody } from './problem.filter.js';
export * from './root.js';
export * from './service.js';
export { OpaqueFieldsPipe } from './validation.js';
