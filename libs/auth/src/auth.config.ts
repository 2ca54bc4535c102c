import { EnvError, makeValidator } from 'envalid';
import { httpUrl, str } from '#libs/chassis';

/** At least 32 characters: what a client's secret needs to hold 256 bits when they are hexadecimal, with room for other alphabets. */
export const clientSecret = makeValidator<string>((input) => {
  if (input.length < 32) throw new EnvError('at least 32 characters are wanted');
  return input;
});

/** Issuer of all tokens unless `BATON_TOKEN_ISSUER` names another. */
export const DEFAULT_ISSUER = 'http://identity:8080';

/** What every service reads to verify the tokens of its callers and to get its own. */
export const AUTH_CONFIG = {
  IDENTITY_URL: httpUrl({ desc: 'Base URL of the identity service' }),
  BATON_CLIENT_SECRET: clientSecret({ desc: "This service's secret at the identity service" }),
  BATON_TOKEN_ISSUER: str({ default: DEFAULT_ISSUER, desc: 'The `iss` of all tokens' }),
};

export interface AuthConfig {
  IDENTITY_URL: string;
  BATON_CLIENT_SECRET: string;
  BATON_TOKEN_ISSUER: string;
}
