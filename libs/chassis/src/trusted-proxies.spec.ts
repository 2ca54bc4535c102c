import { loadConfig } from './config.js';
import { TRUSTED_PROXIES_CONFIG } from './trusted-proxies.js';

const parseProxies = (text?: string) =>
  loadConfig({ TRUSTED_PROXIES: text }, TRUSTED_PROXIES_CONFIG).TRUSTED_PROXIES;

describe('TRUSTED_PROXIES', () => {
  it('are nobody by default', () => {
    for (const text of [undefined, '', ' , ']) expect(parseProxies(text)).toEqual([]);
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
