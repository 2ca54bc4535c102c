export * from './batcher.js';
export { Database, type Query, type Statement } from './database.js';
export { DatabaseModule } from './database.module.js';
