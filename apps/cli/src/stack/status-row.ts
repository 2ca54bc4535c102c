/** One line of `./baton status`; `cause` and `fix` are empty for what is up. */
export interface StatusRow {
  name: string;
  state: 'up' | 'not ready' | 'down' | 'crashed';
  cause: string;
  fix: string;
}

export const up = (name: string): StatusRow => ({ name, state: 'up', cause: '', fix: '' });
