import type { ReadyAnswer } from './ready.js';

/** One line of `./baton status`; `cause` and `fix` are empty for what is up. */
export interface StatusRow {
  name: string;
  state: 'up' | 'starting' | 'not ready' | 'down' | 'crashed';
  /** Host and port. */
  address: string;
  cause: string;
  fix: string;
  /** What a service that is not ready says of itself. */
  missing?: ReadyAnswer['missing'];
}

export const up = (name: string, address: string): StatusRow => ({
  name,
  state: 'up',
  address,
  cause: '',
  fix: '',
});

/** Host and port of a URL; other addresses as they are. */
export const hostOf = (address: string): string =>
  (URL.canParse(address) && new URL(address).host) || address;
