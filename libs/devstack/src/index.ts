export { clientEnvironment, clientSecretOf, identityEnvironment, type ClientRights } from './clients.js';
export {
  DEVELOPER_AUDIENCES,
  hasGrpc,
  serviceEnvironment,
  serviceGrpcUrl,
  serviceNames,
  serviceUrl,
  SERVICES,
  type ServiceName,
} from './environment.js';
export { BatonHome } from './home.js';
export { hostServices, type HostedServices, type HostOptions } from './host.js';
export {
  ownServers,
  recordedInfrastructure,
  runningInfrastructure,
  SERVERS,
  startInfrastructure,
  startServers,
  stopInfrastructure,
  type Infrastructure,
  type OwnServers,
  type ServerName,
} from './infrastructure.js';
export { kafkaBinaries, kafkaSkip } from './kafka-binaries.js';
export { pingKafka } from './kafka-cluster.js';
export { startKafka, stopKafka, type KafkaOptions } from './kafka.js';
export { lastLines } from './daemon.js';
export { withLock } from './lock.js';
export { freePort, holderOf, requireFreePort } from './ports.js';
export { startPostgres, stopPostgres } from './postgres.js';
export type { RunningServer, ServerOptions, ServerRecord } from './server.js';
export { isRunning, own, signalProcess, stopProcess, waitForEnd, type OwnedProcess } from './processes.js';
export {
  pingRedis,
  startRedis,
  stopRedis,
  type RedisOptions,
  type RedisRecord,
  type RunningRedis,
} from './redis.js';
export {
  pingSchemaRegistry,
  schemaRegistryUrlAt,
  startSchemaRegistry,
  stopSchemaRegistry,
  type SchemaRegistryOptions,
} from './schema-registry.js';
export {
  devGrpcPort,
  devPort,
  readSettings,
  type ModelSettings,
  type PortName,
  type StackSettings,
} from './settings.js';
export { spawnService, type SpawnedService, type SpawnOptions } from './spawn-service.js';
export { startThrowawayStack, type ThrowawayStack } from './throwaway.js';
export {
  startThrowawayKafka,
  startThrowawaySchemaRegistry,
  type ThrowawayKafka,
  type ThrowawayKafkaNode,
  type ThrowawayKafkaOptions,
  type ThrowawaySchemaRegistry,
} from './throwaway-kafka.js';
