import { TerminalError } from '#libs/contracts';
import { TOKEN_SECONDS } from '../clients/client.js';
import type { IdentityConfig } from '../config.js';
import { MAX_KEYS } from './keys.repository.js';

/** Clocks that differ, and instances that learn of a new key seconds later. */
const SLACK_SECONDS = 120;
const DAY_SECONDS = 86_400;
const HOUR_SECONDS = 3600;

/**
 * Seconds for which a key is published after its last signature: as long as a token of it may be presented. The last one may be handed on
 * with a message just before it expires, and the message be read at the end of its topic's retention; or be the token of a task, exchanged
 * until its delegation ends.
 * @throws TerminalError `configuration` when that is more keys than are published
 */
export function keepSecondsOf({
  clients,
  delegationSeconds,
  messageDays,
  rotationHours,
}: Pick<IdentityConfig, 'clients' | 'delegationSeconds' | 'messageDays' | 'rotationHours'>): number {
  const longestToken = Math.max(TOKEN_SECONDS, ...clients.map(({ tokenSeconds }) => tokenSeconds));
  const keepSeconds = longestToken + Math.max(delegationSeconds, messageDays * DAY_SECONDS) + SLACK_SECONDS;
  const former = Math.ceil(keepSeconds / (rotationHours * HOUR_SECONDS));
  // Beside them: the current one, the next, and one that waits to be pruned.
  if (former + 3 > MAX_KEYS)
    throw new TerminalError(
      'configuration',
      `Wrong configuration: KEY_ROTATION_HOURS=${rotationHours} with MESSAGE_RETENTION_DAYS=${messageDays} would publish ${former} former keys; at most ${MAX_KEYS} keys are published`,
    );
  return keepSeconds;
}
