export { Channels } from './channels.js';
export { MessagingModule } from './messaging.module.js';
export { RedisConnections } from './redis.js';
export { WorkQueue, type Dispatch, type RunJob } from './work-queue.js';
