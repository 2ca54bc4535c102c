import { readFileSync } from 'node:fs';
import { Kafka, logLevel, type KafkaConfig, type LogEntry, type SASLOptions } from 'kafkajs';
import { TerminalError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import type { HandoffConfig } from '../handoff/config.js';
import './idle-timer.js';

const CONNECT_TIMEOUT_MS = 3000;
const REQUEST_TIMEOUT_MS = 5000;

/** @param retry default: kafkajs' own, some 10 s. @throws TerminalError `configuration` */
export function kafkaClient(
  config: HandoffConfig,
  service: string,
  logger: Logger,
  retry?: KafkaConfig['retry'],
): Kafka {
  return new Kafka({
    clientId: service,
    brokers: config.KAFKA_BROKERS.split(',').map((broker) => broker.trim()),
    ssl: tls(config),
    sasl: sasl(config),
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry,
    logLevel: logLevel.INFO,
    logCreator: () => (entry) => log(logger, entry),
  });
}

function tls({ KAFKA_SSL, KAFKA_SSL_CA_FILE }: HandoffConfig): KafkaConfig['ssl'] {
  if (!KAFKA_SSL) return false;
  return KAFKA_SSL_CA_FILE ? { ca: [readFileSync(KAFKA_SSL_CA_FILE, 'utf8')] } : true;
}

function sasl({ KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD }: HandoffConfig) {
  if (!KAFKA_SASL_MECHANISM) return undefined;
  if (!KAFKA_SASL_USERNAME || !KAFKA_SASL_PASSWORD)
    throw new TerminalError(
      'configuration',
      'Wrong configuration: KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD',
    );
  return {
    mechanism: KAFKA_SASL_MECHANISM,
    username: KAFKA_SASL_USERNAME,
    password: KAFKA_SASL_PASSWORD,
  } as SASLOptions;
}

/** What kafkajs calls an error is mostly a broker that starts or moves, and it tries again by itself. */
function log(logger: Logger, { level, log: { message, error, topic, groupId } }: LogEntry): void {
  const fields = { err: error as unknown, topic: topic as unknown, group: groupId as unknown };
  if (level === logLevel.ERROR) logger.warn(fields, `kafka: ${message}`);
  else logger.debug(fields, `kafka: ${message}`);
}
