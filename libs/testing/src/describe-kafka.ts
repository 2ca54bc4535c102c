import { kafkaSkip } from '#libs/devstack';

/**
 * `describe` for tests that start a Kafka of their own; where this machine cannot run one, they are skipped, and standard error says
 * why. With `CI` set they are never skipped, but fail.
 */
export function describeKafka(title: string, tests: () => void): void {
  const reason = kafkaSkip();
  if (reason) process.stderr.write(`SKIPPED: ${title}. ${reason}\n`);
  (reason ? describe.skip : describe)(title, tests);
}
