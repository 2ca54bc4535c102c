import { bool, bounded, httpUrl, kafkaBrokers, str } from '#libs/chassis';

/** Variables of a service that hands off, for its `loadConfig`. */
export const HANDOFF_CONFIG = {
  KAFKA_BROKERS: kafkaBrokers({
    default: '',
    desc: 'host:port of brokers, separated by commas; empty: hand-offs go over Redis',
  }),
  SCHEMA_REGISTRY_URL: httpUrl({
    default: '',
    desc: "Base URL of a Confluent-compatible schema registry; empty: the repository's schemas, and all services must be of one version",
  }),
  KAFKA_PARTITIONS: bounded(1, 1000)({ default: 6, desc: 'Partitions of topics that are created' }),
  KAFKA_REPLICATION: bounded(1, 10)({ default: 1, desc: 'Copies of topics that are created; production: 3' }),
  KAFKA_SSL: bool({ default: false, desc: 'Connect with TLS' }),
  KAFKA_SSL_CA_FILE: str({
    default: '',
    desc: "PEM file with the brokers' authority, when Node does not know it",
  }),
  KAFKA_SASL_MECHANISM: str({ default: '', choices: ['', 'plain', 'scram-sha-256', 'scram-sha-512'] }),
  KAFKA_SASL_USERNAME: str({ default: '' }),
  KAFKA_SASL_PASSWORD: str({ default: '' }),
  BATON_ENV: str({ default: 'production', choices: ['development', 'production'] }),
};

export interface HandoffConfig {
  KAFKA_BROKERS: string;
  SCHEMA_REGISTRY_URL: string;
  KAFKA_PARTITIONS: number;
  KAFKA_REPLICATION: number;
  KAFKA_SSL: boolean;
  KAFKA_SSL_CA_FILE: string;
  KAFKA_SASL_MECHANISM: string;
  KAFKA_SASL_USERNAME: string;
  KAFKA_SASL_PASSWORD: string;
  BATON_ENV: string;
}
