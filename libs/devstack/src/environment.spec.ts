import {
  DEVELOPER_AUDIENCES,
  hasGrpc,
  serviceEnvironment,
  serviceNames,
  SERVICES,
  type ServiceName,
} from './environment.js';
import { devGrpcPort, devPort, readSettings, type PortName } from './settings.js';

const stack = (env: Record<string, string>) => ({
  settings: readSettings(env),
  databaseUrl: 'postgres://db',
  redisUrl: 'redis://cache',
  kafkaBrokers: null,
  schemaRegistryUrl: null,
  secret: 's'.repeat(32),
});

describe('serviceEnvironment', () => {
  it('moves every port and every address by the offset', () => {
    const env = serviceEnvironment('tools-knowledge', {}, stack({ BATON_PORT_OFFSET: '10000' }));
    expect(env).toMatchObject({
      PORT: '18100',
      HOST: '127.0.0.1',
      SERVICE_URL: 'http://127.0.0.1:18100',
      TOOL_REGISTRY_URL: 'http://127.0.0.1:18082',
      BATON_ENV: 'development',
      DATABASE_URL: 'postgres://db',
      REDIS_URL: 'redis://cache',
    });
  });

  it("points to every agent's gRPC door, in the order of the HTTP ports", () => {
    const env = serviceEnvironment('agent-search', {}, stack({ BATON_PORT_OFFSET: '1000' }));
    expect(env['GRPC_PORT']).toBe('51061');
    const doors = env['AGENT_GRPC_URLS']!.split(',');
    expect(doors).toContain('agent-search=grpc://127.0.0.1:51061');
    const agents = SERVICES.map(({ name }): ServiceName => name).filter(hasGrpc);
    expect(doors.map((door) => door.split('=')[0])).toEqual(agents);
  });

  it('keeps the gRPC ports below 65536 and away from the HTTP ports, whatever the offset', () => {
    const names = SERVICES.map(({ name }): PortName => name);
    for (const offset of [0, 10_000, 15_000, 20_000, 57_000]) {
      const grpc = names.map((name) => devGrpcPort(name, offset));
      expect(Math.max(...grpc)).toBeLessThanOrEqual(65_535);
      const all = [...grpc, ...names.map((name) => devPort(name, offset))];
      expect(new Set(all).size).toBe(2 * names.length);
    }
  });

  it('points to the scripted model when no other is configured, whatever BATON_MODEL says', () => {
    const env = serviceEnvironment('agent-search', { BATON_MODEL: 'gpt-x' }, stack({ BATON_MODEL: 'gpt-x' }));
    expect(env).toMatchObject({ OPENAI_BASE_URL: 'http://127.0.0.1:8085/v1', BATON_MODEL: 'scripted' });
  });

  it('passes a real model on', () => {
    const real = { OPENAI_BASE_URL: 'http://127.0.0.1:11434/v1', BATON_MODEL: 'qwen3' };
    expect(serviceEnvironment('agent-search', real, stack(real))).toMatchObject(real);
  });

  it("overrides the person's own PORT and production settings, and passes the rest on", () => {
    const base = { PORT: '3000', BATON_ENV: 'production', BRAVE_API_KEY: 'key' };
    expect(serviceEnvironment('gateway', base, stack({}))).toMatchObject({
      PORT: '8080',
      BATON_ENV: 'development',
      BRAVE_API_KEY: 'key',
    });
  });

  it('names Kafka and its schema registry where the stack has them', () => {
    const kafka = { kafkaBrokers: '127.0.0.1:8192', schemaRegistryUrl: 'http://registry' };
    expect(serviceEnvironment('agent-search', {}, { ...stack({}), ...kafka })).toMatchObject({
      KAFKA_BROKERS: '127.0.0.1:8192',
      SCHEMA_REGISTRY_URL: 'http://registry',
    });
    const without = serviceEnvironment('agent-search', { KAFKA_BROKERS: '' }, stack({}));
    expect(without).not.toHaveProperty('KAFKA_BROKERS');
    expect(without).not.toHaveProperty('SCHEMA_REGISTRY_URL');
  });

  it("passes no variable on that would make the stack's own servers other than they are", () => {
    const tls = { GRPC_TLS_CERT: 'a', GRPC_TLS_KEY: 'b', GRPC_TLS_CA: 'c' };
    const kafka = { KAFKA_SSL: 'true', KAFKA_SASL_USERNAME: 'me', KAFKA_REPLICATION: '3' };
    const given = { ...tls, ...kafka, KAFKA_BROKERS: 'broker:9092', KAFKA_PARTITIONS: '2' };
    const ownKafka = serviceEnvironment('gateway', given, stack({}));
    for (const name of Object.keys({ ...tls, ...kafka, KAFKA_BROKERS: '' }))
      expect(ownKafka).not.toHaveProperty(name);
    expect(ownKafka).toHaveProperty('KAFKA_PARTITIONS', '2');
    expect(serviceEnvironment('gateway', given, stack(given))).toMatchObject(kafka);
  });

  it('drops empty variables: a service takes its default instead', () => {
    expect(
      serviceEnvironment('agent-search', { OPENAI_BASE_URL: '' }, stack({ OPENAI_API_KEY: 'k' })),
    ).not.toHaveProperty('OPENAI_BASE_URL');
  });
});

describe('DEVELOPER_AUDIENCES', () => {
  it('has every service but the model, which asks for no token', () => {
    expect(DEVELOPER_AUDIENCES).toEqual(serviceNames(readSettings({ OPENAI_API_KEY: 'key' })));
  });
});

describe('serviceNames', () => {
  it('has the scripted model only where no real one is configured', () => {
    expect(serviceNames(readSettings({}))).toEqual(SERVICES.map(({ name }) => name));
    expect(serviceNames(readSettings({ OPENAI_API_KEY: 'key' }))).not.toContain('scripted-llm');
  });
});

describe('readSettings', () => {
  it.each(['-1', '1.5', 'x', '60000'])('refuses the offset %s', (offset) => {
    expect(() => readSettings({ BATON_PORT_OFFSET: offset })).toThrow(/BATON_PORT_OFFSET/);
  });

  it('takes an empty variable as absent', () => {
    expect(readSettings({ DATABASE_URL: '', OPENAI_API_KEY: '', REDIS_URL: '', KAFKA_BROKERS: '' })).toEqual({
      portOffset: 0,
      databaseUrl: null,
      redisUrl: null,
      kafkaBrokers: null,
      schemaRegistryUrl: null,
      model: null,
    });
  });
});
