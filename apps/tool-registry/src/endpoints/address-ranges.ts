import { BlockList, isIP } from 'node:net';

/** Never a tool's address: metadata services, link-local, multicast, unspecified, documentation, and forms that hide an IPv4 address. */
const FORBIDDEN = [
  '0.0.0.0/8',
  '169.254.0.0/16',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '100.100.100.200/32',
  '::/128',
  '::ffff:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '100::/64',
  '2001::/32',
  '2001:db8::/32',
  '2002::/16',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
  'fd00:ec2::254/128',
];
/** Where a tool may live in development, or when the range is allowed by name. */
const PRIVATE = [
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '::1/128',
  'fc00::/7',
];

/** CIDR ranges. Families are kept apart: Node's `BlockList` takes an IPv4 address for a member of `::ffff:0:0/96`. */
export class AddressRanges {
  private readonly lists = { 4: new BlockList(), 6: new BlockList() };

  /** @throws TypeError for what is not a range, e.g. `10.0.0.0/8` or `::1/128`. */
  constructor(ranges: string[]) {
    for (const range of ranges) {
      const [address = '', bits = ''] = range.split('/');
      const family = isIP(address);
      const prefix = Number(bits);
      if (!AddressRanges.isRange(range) || (family !== 4 && family !== 6))
        throw new TypeError(`${range} is not a CIDR range`);
      this.lists[family].addSubnet(address, prefix, family === 4 ? 'ipv4' : 'ipv6');
    }
  }

  static isRange(text: string): boolean {
    const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
    const family = isIP(match?.[1] ?? '');
    return family !== 0 && Number(match![2]) <= (family === 4 ? 32 : 128);
  }

  has(address: string): boolean {
    const family = isIP(address);
    if (family !== 4 && family !== 6) return false;
    return this.lists[family].check(address, family === 4 ? 'ipv4' : 'ipv6');
  }
}

export const FORBIDDEN_RANGES = new AddressRanges(FORBIDDEN);
export const PRIVATE_RANGES = new AddressRanges(PRIVATE);
