import { loadConfig } from '#libs/chassis';
import { createLogger } from '#libs/telemetry';
import { HANDOFF_CONFIG } from '../handoff/config.js';
import { kafkaClient } from './client.js';

const open = (env: Record<string, string>) =>
  kafkaClient(
    loadConfig({ KAFKA_BROKERS: 'broker:9092', ...env }, HANDOFF_CONFIG),
    'a-service',
    createLogger('test', 'silent'),
  );
const LOGIN = { KAFKA_SASL_USERNAME: 'baton', KAFKA_SASL_PASSWORD: 'pass' };
const PLAIN = { KAFKA_SASL_MECHANISM: 'plain', ...LOGIN };

describe('the settings of Kafka', () => {
  it.each<[string, Record<string, string>]>([
    ['nothing but brokers', {}],
    ['TLS', { KAFKA_SSL: 'true' }],
    ['TLS with an authority', { KAFKA_SSL: 'true', KAFKA_SSL_CA_FILE: __filename }],
    ['SCRAM without TLS', { KAFKA_SASL_MECHANISM: 'scram-sha-512', ...LOGIN }],
    ['PLAIN with TLS', { KAFKA_SSL: 'true', ...PLAIN }],
    ['PLAIN without TLS in development', { ...PLAIN, BATON_ENV: 'development' }],
  ])('may be %s', (_, env) => {
    expect(() => open(env)).not.toThrow();
  });

  it.each<[string, Record<string, string>, RegExp]>([
    [
      'an authority that is not there',
      { KAFKA_SSL: 'true', KAFKA_SSL_CA_FILE: '/no/such.pem' },
      /KAFKA_SSL_CA_FILE: .*ENOENT.*such\.pem.*PEM file/,
    ],
    ['an authority without TLS', { KAFKA_SSL_CA_FILE: __filename }, /KAFKA_SSL_CA_FILE needs KAFKA_SSL=true/],
    [
      'a mechanism without a password',
      { KAFKA_SASL_MECHANISM: 'scram-sha-256', KAFKA_SASL_USERNAME: 'baton' },
      /KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD/,
    ],
    [
      'a login without a mechanism',
      LOGIN,
      /KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD need KAFKA_SASL_MECHANISM/,
    ],
    ['a password in clear text', PLAIN, /KAFKA_SASL_MECHANISM=plain.*KAFKA_SSL=true.*BATON_ENV=development/],
    [
      'more than one of these, all named at once',
      { ...PLAIN, KAFKA_SSL_CA_FILE: 'x' },
      /KAFKA_SSL_CA_FILE needs.*KAFKA_SASL_MECHANISM=plain/,
    ],
  ])('are refused with %s', (_, env, message) => {
    let refusal: unknown;
    try {
      open(env);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(message) as string,
    });
  });
});
