import { bounded, loadConfig, str, type Env } from '#libs/chassis';
import { DEV_PORTS } from '#libs/contracts';

/** What a person may set for the stack on one machine; everything has a default. */
export interface StackSettings {
  portOffset: number;
  /** The user's own servers: used, never started or stopped. */
  databaseUrl: string | null;
  redisUrl: string | null;
  kafkaBrokers: string | null;
  schemaRegistryUrl: string | null;
  model: ModelSettings | null;
}

/** A real model; null where the scripted one answers. */
export interface ModelSettings {
  baseUrl: string | null;
  apiKey: string | null;
  model: string | null;
}

export type PortName = keyof typeof DEV_PORTS;

const HIGHEST_OFFSET = 65_535 - Math.max(...Object.values(DEV_PORTS));

/** @throws TerminalError `configuration` that names every wrong variable. */
export function readSettings(env: Env): StackSettings {
  const config = loadConfig(env, {
    BATON_PORT_OFFSET: bounded(0, HIGHEST_OFFSET)({ default: 0 }),
    DATABASE_URL: str({ default: '' }),
    REDIS_URL: str({ default: '' }),
    KAFKA_BROKERS: str({ default: '' }),
    SCHEMA_REGISTRY_URL: str({ default: '' }),
    OPENAI_API_KEY: str({ default: '' }),
    OPENAI_BASE_URL: str({ default: '' }),
    BATON_MODEL: str({ default: '' }),
  });
  const hasModel = config.OPENAI_API_KEY !== '' || config.OPENAI_BASE_URL !== '';
  return {
    portOffset: config.BATON_PORT_OFFSET,
    databaseUrl: config.DATABASE_URL || null,
    redisUrl: config.REDIS_URL || null,
    kafkaBrokers: config.KAFKA_BROKERS || null,
    schemaRegistryUrl: config.SCHEMA_REGISTRY_URL || null,
    model: hasModel
      ? {
          baseUrl: config.OPENAI_BASE_URL || null,
          apiKey: config.OPENAI_API_KEY || null,
          model: config.BATON_MODEL || null,
        }
      : null,
  };
}

export function devPort(name: PortName, offset: number): number {
  return DEV_PORTS[name] + offset;
}

const GRPC_FIRST = 50_051;
/** Where gRPC ports go that would lie beyond the last one: below the HTTP ports of the same offset. */
const GRPC_FIRST_OF_HIGH_OFFSETS = 7051;

/** The port of a service's gRPC door: from 50051 on, in the order of the HTTP ports. */
export function devGrpcPort(name: PortName, offset: number): number {
  const order = devPort(name, offset) - DEV_PORTS.gateway;
  return GRPC_FIRST + order <= 65_535 ? GRPC_FIRST + order : GRPC_FIRST_OF_HIGH_OFFSETS + order;
}
