export { Channels } from './channels.js';
export { MessagingModule } from './messaging.module.js';
export { RedisConnections } from './redis.js';
export { WorkQueue, type Dispatch, type RunJob } from './work-queue.js';
export { HANDOFF_CONFIG, type HandoffConfig } from './handoff/config.js';
export * from './handoff/handoff.js';
export { HandoffModule, type HandoffOptions } from './handoff/handoff.module.js';
export { handoffTables } from './handoff/tables.js';
