import { SERVERS, type ServerName } from '#libs/devstack';

const LABELS: Record<ServerName, string> = {
  postgres: 'Postgres',
  redis: 'Redis',
  kafka: 'Kafka',
  schemaRegistry: 'schema registry',
};

/** What people call these servers. */
export function serverLabels(names: readonly ServerName[]): string[] {
  return SERVERS.filter((name) => names.includes(name)).map((name) => LABELS[name]);
}

/** What is said before the stack is started. */
export function starting(withKafka: boolean): string {
  return `Starting Postgres, Redis${withKafka ? ', Kafka, its schema registry' : ''} and the services …`;
}
