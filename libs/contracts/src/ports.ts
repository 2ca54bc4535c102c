/** Development ports of the services (`BATON_PORT_OFFSET` is added); in production every container listens on 8080. */
export const DEV_PORTS = {
  gateway: 8080,
  identity: 8081,
  'tool-registry': 8082,
  'scripted-llm': 8085,
  'agent-search': 8090,
  'tools-knowledge': 8100,
  postgres: 8132,
  redis: 8179,
  'schema-registry': 8181,
  kafka: 8192,
  'kafka-controller': 8193,
} as const;
