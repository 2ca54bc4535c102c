import {
  cleanEnv,
  EnvError,
  EnvMissingError,
  makeValidator,
  type CleanedEnv,
  type ValidatorSpec,
} from 'envalid';
import { TerminalError, messageOf } from '#libs/contracts';

export { bool, json, num, str } from 'envalid';
export type Env = Record<string, string | undefined>;

/** A whole number; `bounded(1, 100)` accepts 1 to 100. */
export const bounded = (min: number, max: number) =>
  makeValidator<number>((input) => {
    const value = Number(input);
    if (!Number.isInteger(value) || value < min || value > max)
      throw new EnvError(`a whole number from ${min} to ${max} is wanted, not "${input}"`);
    return value;
  });

/** Connection addresses; an empty one is none, where none is the default. They may hold passwords: the error does not repeat them. */
const address =
  (example: string, accepted: Pick<RegExp, 'test'>) =>
  (spec: { default?: string; desc?: string } = {}) =>
    makeValidator<string>((input) => {
      if (accepted.test(input) || (input === '' && spec.default === '')) return input;
      throw new EnvError(`an address like ${example} is wanted`);
    })(spec);

export const postgresUrl = address('postgres://user:password@host:5432/database', /^postgres(ql)?:\/\/\S+$/);
export const redisUrl = address('redis://host:6379', /^rediss?:\/\/\S+$/);
export const httpUrl = address('http://host:8080', {
  test: (text) => /^https?:\/\/\S/i.test(text) && URL.canParse(text),
});
/** Separated by commas. */
export const kafkaBrokers = address(
  'kafka-1:9092,kafka-2:9092',
  /^\s*[^\s:,]+:\d+\s*(,\s*[^\s:,]+:\d+\s*)*$/,
);

/**
 * Reads a service's variables once, typed, with their defaults.
 * @throws TerminalError `configuration` that names every missing or wrong variable at once.
 */
export function loadConfig<S extends Record<string, ValidatorSpec<unknown>>>(
  env: Env,
  specs: S,
): CleanedEnv<S> {
  return cleanEnv(env, specs, {
    reporter: ({ errors }) => {
      const wrong = Object.entries(errors).map(([name, error]) =>
        error instanceof EnvMissingError ? `${name} is missing` : `${name}: ${messageOf(error)}`,
      );
      if (wrong.length > 0)
        throw new TerminalError('configuration', `Wrong configuration: ${wrong.join('; ')}`);
    },
  });
}
