import { isIPv6 } from 'node:net';
import { LRUCache } from 'lru-cache';
import { BatonError, RetryableError, TerminalError } from '#libs/contracts';

const WINDOW_SECONDS = 60;
/** Addresses that are remembered at once; beyond that the one that failed longest ago is forgotten. */
const MAX_ADDRESSES = 10_000;

/** Failed authentications of one address, `perMinute` at most, in this process. */
export class FailedAttempts {
  /** Each is the minute from an address's first failure on. */
  private readonly windows = new LRUCache<string, { failed: number }>({
    max: MAX_ADDRESSES,
    ttl: WINDOW_SECONDS * 1000,
  });

  constructor(private readonly perMinute: number) {}

  /**
   * Counts an attempt as failed from its beginning, so that many at once are not more.
   * @returns takes it back: it did not fail
   * @throws RetryableError 429 `rate-limited` beyond the limit
   */
  begin(address: string): () => void {
    this.assertMore(address);
    return this.count(address);
  }

  /** @throws RetryableError 429 `rate-limited` when there may be no more failures */
  assertMore(address: string): void {
    const network = networkOf(address);
    if (this.failedOf(network) >= this.perMinute) throw this.refusal(network);
  }

  /** @returns takes it back, from the minute in which it counted alone */
  count(address: string): () => void {
    const network = networkOf(address);
    const window = this.windows.get(network) ?? { failed: 0 };
    window.failed += 1;
    if (window.failed === 1) this.windows.set(network, window);
    return () => void (window.failed -= 1);
  }

  /** A 401 says how many more there may be; any other error stays as it is. */
  told(error: unknown, address: string): unknown {
    if (!(error instanceof BatonError && error.status === 401)) return error;
    const { code, message, cause, status } = error;
    const headers = { ...error.headers, ...this.headersOf(networkOf(address)) };
    return new TerminalError(code, message, { status, headers, cause });
  }

  private failedOf(network: string): number {
    return this.windows.get(network)?.failed ?? 0;
  }

  private refusal(network: string): RetryableError {
    return new RetryableError('rate-limited', 'Too many failed authentications', {
      status: 429,
      retryAfterMs: this.resetSeconds(network) * 1000,
      headers: this.headersOf(network),
    });
  }

  /** draft-ietf-httpapi-ratelimit-headers-10 */
  private headersOf(network: string): Record<string, string> {
    const left = Math.max(0, this.perMinute - this.failedOf(network));
    return {
      'RateLimit-Policy': `"failures";q=${this.perMinute};w=${WINDOW_SECONDS}`,
      RateLimit: `"failures";r=${left};t=${this.resetSeconds(network)}`,
    };
  }

  private resetSeconds(network: string): number {
    const remainingMs = this.windows.has(network)
      ? this.windows.getRemainingTTL(network)
      : WINDOW_SECONDS * 1000;
    return Math.max(1, Math.ceil(remainingMs / 1000));
  }
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
