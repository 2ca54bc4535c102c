import { parseProxies } from './trusted-proxies.js';

describe('TRUSTED_PROXIES', () => {
  it('are nobody by default', () => {
    expect(parseProxies('')).toEqual([]);
  });

  it('are addresses, networks and their names', () => {
    const proxies = ['10.0.0.0/8', '192.0.2.1', '::1', '2001:db8::/32', 'loopback'];
    expect(parseProxies(proxies.join(', '))).toEqual(proxies);
  });

  it.each([
    'true',
    '1',
    '10.0.0.0/33',
    '10.0.0.0/x',
    '10.0.0.0/8/8',
    '10.0.0',
    '*',
    '::1/129',
    'proxy.example',
  ])('are not %s', (text) => {
    expect(() => parseProxies(`::1,${text}`)).toThrow(/TRUSTED_PROXIES: /);
  });
});
