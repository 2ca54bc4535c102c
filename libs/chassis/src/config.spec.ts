import { bool, bounded, loadConfig, str, url } from './config.js';

const SPECS = {
  DATABASE_URL: str(),
  PORT: bounded(0, 65_535)({ default: 8080 }),
  REGISTRY: url({ default: 'http://registry' }),
  LEVEL: str({ default: 'info', choices: ['info', 'debug'] }),
  FLAG: bool({ default: false }),
};

describe('configuration', () => {
  it('is typed and has its defaults', () => {
    expect({ ...loadConfig({ DATABASE_URL: 'postgres://x', PORT: '90', FLAG: '1' }, SPECS) }).toEqual({
      DATABASE_URL: 'postgres://x',
      PORT: 90,
      REGISTRY: 'http://registry',
      LEVEL: 'info',
      FLAG: true,
    });
  });

  it('names every missing and wrong variable at once', () => {
    const load = () =>
      loadConfig({ PORT: '70000', REGISTRY: 'nowhere', LEVEL: 'loud', FLAG: 'perhaps' }, SPECS);
    expect(load).toThrow(expect.objectContaining({ code: 'configuration' }));
    for (const name of ['DATABASE_URL is missing', 'PORT', 'REGISTRY', 'LEVEL', 'FLAG'])
      expect(load).toThrow(name);
  });

  it('says what a bounded number has to be', () => {
    expect(() => loadConfig({ N: '5' }, { N: bounded(1, 4)() })).toThrow(
      'N: a whole number from 1 to 4 is wanted, not "5"',
    );
  });

  it.each(['0', '1.5', '', ' ', 'x', '1e9', 'Infinity', 'NaN'])('refuses %j for 1 to 100', (text) => {
    expect(() => loadConfig({ N: text }, { N: bounded(1, 100)() })).toThrow(/N/);
  });

  it('takes the bounds themselves', () => {
    expect(loadConfig({ A: '1', B: '100' }, { A: bounded(1, 100)(), B: bounded(1, 100)() })).toMatchObject({
      A: 1,
      B: 100,
    });
  });
});
