import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { LRUCache } from 'lru-cache';
import { RetryableError, TerminalError } from '#libs/contracts';
import { AddressRanges, FORBIDDEN_RANGES, PRIVATE_RANGES } from './address-ranges.js';

export interface EndpointPolicyOptions {
  /** Loopback and private addresses are fine. */
  development: boolean;
  /** CIDR ranges, host names and `.suffixes` of host names that may be private in production. */
  allow: string[];
}

/** Raised inside a connection's lookup, where only the code of an error survives. */
export const ENDPOINT_FORBIDDEN = 'ENDPOINT_FORBIDDEN';

/**
 * Where the registry may send calls: the guard against server-side request forgery. Applied to a URL at registration, to literal
 * addresses before every call, and to every resolved address inside the connection's own lookup, so that a name which changes
 * its address between check and use gains nothing.
 */
export class EndpointPolicy {
  private readonly allowedRanges: AddressRanges;
  private readonly allowedHosts: string[];
  private readonly faults = new LRUCache<string, { fault: string | null }>({ max: 1000 });

  constructor(private readonly options: EndpointPolicyOptions) {
    this.allowedRanges = new AddressRanges(options.allow.filter((entry) => AddressRanges.isRange(entry)));
    this.allowedHosts = options.allow
      .filter((entry) => !AddressRanges.isRange(entry))
      .map((host) => host.toLowerCase());
  }

  /** Why the URL may not be called, as far as the URL itself tells; null when it may. Remembered: every call asks. */
  faultOf(endpoint: string): string | null {
    let known = this.faults.get(endpoint);
    if (!known) this.faults.set(endpoint, (known = { fault: this.urlFault(endpoint) }));
    return known.fault;
  }

  private urlFault(endpoint: string): string | null {
    if (!URL.canParse(endpoint)) return 'not a URL';
    const url = new URL(endpoint);
    if (url.protocol !== 'http:' && url.protocol !== 'https:')
      return `the scheme ${url.protocol} is not http or https`;
    if (url.username || url.password) return 'a URL with credentials';
    const host = hostOf(url);
    return isIP(host) ? this.addressFault(host, host) : null;
  }

  /**
   * Checks a URL and what its name resolves to now.
   * @throws TerminalError 422 `endpoint-forbidden`; RetryableError 503 `endpoint-unresolved` when the resolver is away.
   */
  async require(field: string, endpoint: string): Promise<void> {
    const fault = this.faultOf(endpoint);
    if (fault) throw endpointForbidden(field, fault);
    const host = hostOf(new URL(endpoint));
    if (isIP(host)) return;
    const addresses = await resolveAll(host).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EAI_AGAIN')
        throw new RetryableError(
          'endpoint-unresolved',
          `${field}: the host name cannot be resolved at the moment`,
          { cause: error },
        );
      throw endpointForbidden(field, 'the host name does not resolve');
    });
    for (const { address } of addresses) {
      const wrong = this.addressFault(address, host);
      if (wrong) throw endpointForbidden(field, wrong);
    }
  }

  /** For the connections of calls: resolves, and fails with `ENDPOINT_FORBIDDEN` when any address may not be called. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    dnsLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error) return callback(error, '');
      const fault = addresses
        .map(({ address }) => this.addressFault(address, hostname))
        .find((found) => found !== null);
      if (fault) return callback(Object.assign(new Error(fault), { code: ENDPOINT_FORBIDDEN }), '');
      if (options.all) return callback(null, addresses);
      callback(null, addresses[0]!.address, addresses[0]!.family);
    });
  };

  private addressFault(address: string, host: string): string | null {
    if (FORBIDDEN_RANGES.has(address)) return 'a link-local, reserved or disguised address';
    if (!PRIVATE_RANGES.has(address)) return null;
    const allowed = this.options.development || this.allowedRanges.has(address) || this.allowsHost(host);
    return allowed ? null : 'a loopback or private address';
  }

  private allowsHost(host: string): boolean {
    const name = host.toLowerCase();
    return this.allowedHosts.some((allowed) =>
      allowed.startsWith('.') ? name.endsWith(allowed) : name === allowed,
    );
  }
}

const hostOf = (url: URL) => url.hostname.replace(/^\[|\]$/g, '');

function resolveAll(host: string): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) =>
    dnsLookup(host, { all: true }, (error, addresses) => (error ? reject(error) : resolve(addresses))),
  );
}

export function endpointForbidden(field: string, reason: string): TerminalError {
  return new TerminalError('endpoint-forbidden', `The registry does not call this ${field}: ${reason}`, {
    status: 422,
    errors: [{ field, message: reason }],
  });
}
