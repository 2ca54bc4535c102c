export { clientEnvironment, clientSecretOf, identityEnvironment, type ClientRights } from './clients.js';
export {
  DEVELOPER_AUDIENCES,
  hasGrpc,
  serviceEnvironment,
  serviceNames,
  SERVICES,
  type ServiceName,
} from './environment.js';
export { BatonHome } from './home.js';
export { hostServices, type HostedServices } from './host.js';
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
export { startKafka } from './kafka.js';
export { withLock } from './lock.js';
export { NODE_FLAGS } from './node-flags.js';
export { freePort, holderOf, requireFreePort } from './ports.js';
export { withoutOwnAddresses } from './own-addresses.js';
export { startPostgres } from './postgres.js';
export { isRunning, own, stopProcess, type OwnedProcess } from './processes.js';
export { pingRedis, startRedis } from './redis.js';
export { pingSchemaRegistry, schemaRegistryUrlAt, startSchemaRegistry } from './schema-registry.js';
export { devGrpcPort, devPort, readSettings, type PortName, type StackSettings } from './settings.js';
export { spawnService, type SpawnedService, type SpawnOptions } from './spawn-service.js';
export { startThrowawayStack, type ThrowawayStack } from './throwaway.js';
export {
  startThrowawayKafka,
  startThrowawaySchemaRegistry,
  type ThrowawayKafka,
  type ThrowawaySchemaRegistry,
} from './throwaway-kafka.js';
