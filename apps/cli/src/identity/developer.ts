import { SCOPES } from '#libs/auth';
import { BatonError } from '#libs/contracts';
import { DEVELOPER_AUDIENCES } from '#libs/devstack';
import type { HostRecord, Stack } from '../stack/stack.js';
import { withIdentity } from './identity.js';

/** The person who develops on this machine. */
export const DEVELOPER = { tenant: 'dev', user: 'developer' };

const RECORD = 'developer-key';

/**
 * A token of the developer, valid for 24 hours, for the API key that `BATON_HOME` keeps (mode 0600). The first call makes tenant,
 * user and key; so does one that finds them gone, with the database in which they were.
 */
export async function developerToken(
  stack: Stack,
  host: Pick<HostRecord, 'services'>,
  audience: string[] = DEVELOPER_AUDIENCES,
): Promise<string> {
  return withIdentity(stack, host, async (identity) => {
    const kept = stack.home.read<{ key: string }>(RECORD);
    if (kept) {
      try {
        return await identity.tokenFor(kept.key, audience);
      } catch (error) {
        if (!(error instanceof BatonError && error.status === 401)) throw error;
      }
    }
    const { key } = await identity.createKey({
      ...DEVELOPER,
      name: 'made by ./baton',
      scopes: [...SCOPES],
    });
    stack.home.write(RECORD, { key });
    return identity.tokenFor(key, audience);
  });
}
