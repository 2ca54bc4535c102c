/**
 * Flags of Node for processes that run services. A service makes many short-lived objects for many tasks at once; in V8's default young
 * generation (16 MiB) those of waiting tasks are copied over and over: 20 % of an agent's CPU time under load, a third of that with 64 MiB.
 */
export const NODE_FLAGS: readonly string[] = ['--max-semi-space-size=64'];
