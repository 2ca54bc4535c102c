import { readFileSync } from 'node:fs';
import { Kafka, logLevel, type KafkaConfig, type LogEntry, type SASLOptions } from 'kafkajs';
import { messageOf, TerminalError } from '#libs/contracts';
import type { Logger } from '#libs/telemetry';
import type { HandoffConfig } from '../handoff/config.js';
import './idle-timer.js';

const CONNECT_TIMEOUT_MS = 3000;
const REQUEST_TIMEOUT_MS = 5000;

/**
 * @param retry default: kafkajs' own, some 10 s
 * @throws TerminalError `configuration` that names every wrong variable at once
 */
export function kafkaClient(
  config: HandoffConfig,
  service: string,
  logger: Logger,
  retry?: KafkaConfig['retry'],
): Kafka {
  const faults = faultsOf(config);
  if (faults.length > 0) throw wrong(faults.join('; '));
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

/** What does not go together, and would show as a broker that does not answer, or not at all. */
function faultsOf(config: HandoffConfig): string[] {
  const { KAFKA_SSL: isSecure, KAFKA_SSL_CA_FILE: authority, KAFKA_SASL_MECHANISM: mechanism } = config;
  const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password, BATON_ENV } = config;
  const faults: string[] = [];
  if (authority && !isSecure) faults.push('KAFKA_SSL_CA_FILE needs KAFKA_SSL=true');
  if (mechanism && !(username && password))
    faults.push('KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD');
  if (!mechanism && (username || password))
    faults.push('KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD need KAFKA_SASL_MECHANISM');
  if (mechanism === 'plain' && !isSecure && BATON_ENV !== 'development')
    faults.push(
      'KAFKA_SASL_MECHANISM=plain sends the password in clear text: set KAFKA_SSL=true, use scram-sha-512, or set BATON_ENV=development',
    );
  return faults;
}

function tls({ KAFKA_SSL, KAFKA_SSL_CA_FILE }: HandoffConfig): KafkaConfig['ssl'] {
  if (!KAFKA_SSL || !KAFKA_SSL_CA_FILE) return KAFKA_SSL;
  try {
    return { ca: [readFileSync(KAFKA_SSL_CA_FILE, 'utf8')] };
  } catch (error) {
    throw wrong(
      `KAFKA_SSL_CA_FILE: ${messageOf(error)}; name the PEM file of the brokers' authority, or leave it empty where Node knows it`,
    );
  }
}

function sasl({ KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD }: HandoffConfig) {
  if (!KAFKA_SASL_MECHANISM) return undefined;
  return {
    mechanism: KAFKA_SASL_MECHANISM,
    username: KAFKA_SASL_USERNAME,
    password: KAFKA_SASL_PASSWORD,
  } as SASLOptions;
}

const wrong = (fault: string) => new TerminalError('configuration', `Wrong configuration: ${fault}`);

/** What kafkajs calls an error is mostly a broker that starts or moves, and it tries again by itself. */
function log(logger: Logger, { level, log: { message, error, topic, groupId } }: LogEntry): void {
  const fields = { err: error as unknown, topic: topic as unknown, group: groupId as unknown };
  if (level === logLevel.ERROR) logger.warn(fields, `kafka: ${message}`);
  else logger.debug(fields, `kafka: ${message}`);
}
