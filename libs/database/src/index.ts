export * from './batcher.js';
export { Database, type Query, type Statement } from './database.js';
export { DatabaseModule, KEYED_PLANS } from './database.module.js';
