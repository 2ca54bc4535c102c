export * from './logger.js';
export * from './metrics.js';
export { PUBLIC_ROUTE } from './metrics.controller.js';
