import { lookup } from 'node:dns';
import { EndpointPolicy } from './endpoint-policy.js';

jest.mock('node:dns', () => ({ lookup: jest.fn() }));

const production = new EndpointPolicy({
  development: false,
  allow: ['10.20.0.0/16', 'tools-knowledge', '.svc.cluster.local'],
});
const development = new EndpointPolicy({ development: true, allow: [] });

/** From now on every name resolves to these addresses. */
function resolveTo(...addresses: string[]): void {
  const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  jest
    .mocked(
      lookup as unknown as (
        name: string,
        options: object,
        done: (error: null, all: object[]) => void,
      ) => void,
    )
    .mockImplementation((_name, _options, done) => done(null, found));
}

const outcomeOf = (policy: EndpointPolicy, url: string) =>
  policy.require('endpoint', url).then(
    () => 'taken',
    (error: { code: string; status: number }) => `${error.status} ${error.code}`,
  );

describe('EndpointPolicy', () => {
  const FORBIDDEN_EVERYWHERE = [
    ['link-local metadata', 'http://169.254.169.254/latest/meta-data'],
    ['metadata in decimal', 'http://2852039166/'],
    ['metadata in hex', 'http://0xA9FEA9FE/'],
    ['metadata in octal', 'http://0251.0376.0251.0376/'],
    ['metadata as IPv4-mapped IPv6', 'http://[::ffff:169.254.169.254]/'],
    ['loopback as IPv4-mapped IPv6', 'http://[::ffff:7f00:1]/'],
    ['NAT64', 'http://[64:ff9b::a9fe:a9fe]/'],
    ['6to4', 'http://[2002:a9fe:a9fe::]/'],
    ['IPv6 link-local', 'http://[fe80::1]/'],
    ['the metadata service of AWS over IPv6', 'http://[fd00:ec2::254]/'],
    ['unspecified', 'http://0.0.0.0/'],
    ['IPv6 unspecified', 'http://[::]/'],
    ['multicast', 'http://224.0.0.1/'],
    ['broadcast', 'http://255.255.255.255/'],
    ['file', 'file:///etc/passwd'],
    ['gopher', 'gopher://example.com/'],
    ['credentials', 'http://user:pass@example.com/'],
    ['no URL', 'example.com/tool'],
  ];
  it.each(FORBIDDEN_EVERYWHERE)('forbids %s everywhere', async (_, url) => {
    expect(await outcomeOf(production, url)).toBe('422 endpoint-forbidden');
    expect(await outcomeOf(development, url)).toBe('422 endpoint-forbidden');
  });

  it.each([
    ['loopback', 'http://127.0.0.1:8100/'],
    ['loopback in hex', 'http://0x7f000001/'],
    ['loopback in short', 'http://127.1/'],
    ['IPv6 loopback', 'http://[::1]:8100/'],
    ['10/8', 'http://10.0.0.1/'],
    ['172.16/12', 'http://172.31.255.255/'],
    ['192.168/16', 'http://192.168.1.1/'],
    ['carrier-grade NAT', 'http://100.64.0.1/'],
    ['unique local IPv6', 'http://[fc00::1]/'],
  ])('forbids %s in production only', async (_, url) => {
    expect(await outcomeOf(production, url)).toBe('422 endpoint-forbidden');
    expect(await outcomeOf(development, url)).toBe('taken');
  });

  it('takes public addresses, allowed ranges and allowed names', async () => {
    resolveTo('10.9.9.9');
    for (const url of [
      'https://93.184.216.34/',
      'http://10.20.3.4/',
      'http://tools-knowledge:8080/',
      'http://mail.tools.svc.cluster.local/',
    ])
      expect(await outcomeOf(production, url)).toBe('taken');
  });

  it('forbids a name when any of its addresses is private', async () => {
    resolveTo('93.184.216.34', '10.0.0.1');
    expect(await outcomeOf(production, 'https://rebind.example/')).toBe('422 endpoint-forbidden');
  });

  it('lets an allowed name resolve to no metadata address', async () => {
    resolveTo('169.254.169.254');
    expect(await outcomeOf(production, 'http://tools-knowledge/')).toBe('422 endpoint-forbidden');
  });

  it('checks again inside the connection, where a name may have changed its address', async () => {
    const connect = (policy: EndpointPolicy, all: boolean) =>
      new Promise((resolve) =>
        policy.lookup('rebind.example', { all }, (error, address) => resolve(error?.code ?? address)),
      );
    resolveTo('169.254.169.254');
    expect(await connect(production, true)).toBe('ENDPOINT_FORBIDDEN');
    expect(await connect(development, false)).toBe('ENDPOINT_FORBIDDEN');
    resolveTo('93.184.216.34');
    expect(await connect(production, false)).toBe('93.184.216.34');
    expect(await connect(production, true)).toEqual([{ address: '93.184.216.34', family: 4 }]);
  });
});
