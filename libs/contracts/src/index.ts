export * from './errors.js';
export * from './journal.js';
export * from './messages.js';
export * from './ports.js';
export * from './problem.js';
export * from './task.js';
export * from './tool.js';
export * from './openapi.js';
