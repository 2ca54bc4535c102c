import { isIPv6 } from 'node:net';
import { LRUCache } from 'lru-cache';
import { RetryableError } from '#libs/contracts';

const PER_MINUTE = 30;
const WINDOW_SECONDS = 60;
/** Addresses that are remembered at once; beyond that the one that failed longest ago is forgotten. */
const MAX_ADDRESSES = 10_000;

/** Failed authentications of one address per minute, in this process. An attempt counts from its beginning, so that many at once are not more. */
export class FailedAttempts {
  private readonly counts = new LRUCache<string, number>({
    max: MAX_ADDRESSES,
    ttl: WINDOW_SECONDS * 1000,
    noUpdateTTL: true,
  });

  /**
   * Counts an attempt as failed.
   * @returns takes it back: it did not fail
   * @throws RetryableError 429 `rate-limited` after 30 in a minute
   */
  begin(address: string): () => void {
    const network = networkOf(address);
    const failed = this.counts.get(network) ?? 0;
    if (failed >= PER_MINUTE) throw refusal(this.counts.getRemainingTTL(network));
    this.counts.set(network, failed + 1);
    return () => {
      const count = this.counts.get(network);
      if (count !== undefined) this.counts.set(network, count - 1);
    };
  }
}

/** draft-ietf-httpapi-ratelimit-headers-10 */
function refusal(remainingMs: number): RetryableError {
  const seconds = Math.max(1, Math.ceil(remainingMs / 1000));
  return new RetryableError('rate-limited', 'Too many failed authentications', {
    status: 429,
    retryAfterMs: seconds * 1000,
    headers: {
      'RateLimit-Policy': `"failures";q=${PER_MINUTE};w=${WINDOW_SECONDS}`,
      RateLimit: `"failures";r=0;t=${seconds}`,
    },
  });
}

/** Of IPv6 the first 64 bits: one client has all addresses of such a network. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1];
  if (mapped) return mapped;
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('::');
  const [before, after] = [head, tail ?? ''].map((part) => part.split(':').filter(Boolean));
  const zeros = tail === undefined ? 0 : 8 - before!.length - after!.length;
  return [...before!, ...Array<string>(zeros).fill('0'), ...after!].slice(0, 4).join(':');
}
