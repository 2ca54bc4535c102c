export * from './batcher.js';
export { Database, type Query, type Statement } from './database.js';
export { DatabaseModule, type DatabaseOptions } from './database.module.js';
