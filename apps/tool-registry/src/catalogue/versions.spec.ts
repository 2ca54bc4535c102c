import type { ToolDefinition } from '#libs/contracts';
import { breakingChange, predecessorOf } from './compatibility.js';
import { compareVersions, newestVersion } from './versions.js';

describe('compareVersions', () => {
  it('orders as the specification does', () => {
    // https://semver.org/#spec-item-11
    const ordered = [
      '1.0.0-alpha',
      '1.0.0-alpha.1',
      '1.0.0-alpha.beta',
      '1.0.0-beta',
      '1.0.0-beta.2',
      '1.0.0-beta.11',
      '1.0.0-rc.1',
      '1.0.0',
      '1.2.0',
      '1.10.0',
      '2.0.0',
    ];
    expect(ordered.toReversed().sort(compareVersions)).toEqual(ordered);
  });
});

describe('newestVersion', () => {
  it('prefers a release', () => {
    expect(newestVersion(['1.0.0', '1.9.0', '1.10.0', '2.0.0-rc.1'])).toBe('1.10.0');
    expect(newestVersion(['0.1.0-a', '0.1.0-b'])).toBe('0.1.0-b');
    expect(newestVersion([])).toBeUndefined();
  });
});

describe('predecessorOf', () => {
  it('is the newest one before it with the same major number', () => {
    const published = ['1.0.0', '1.1.0', '1.3.0', '2.0.0'].map((version) => ({ version }));
    expect(predecessorOf('1.2.0', published)).toEqual({ version: '1.1.0' });
    expect(predecessorOf('2.0.1', published)).toEqual({ version: '2.0.0' });
    expect(predecessorOf('3.0.0', published)).toBeUndefined();
  });
});

describe('breakingChange', () => {
  const tool = (version: string, properties: string[], required: string[] = []) =>
    ({
      version,
      parameters: { properties: Object.fromEntries(properties.map((name) => [name, {}])), required },
    }) as unknown as ToolDefinition;

  it.each([
    ['a removed parameter', tool('1.0.0', ['a', 'b']), tool('1.1.0', ['a']), /removes parameters b/],
    ['a newly required one', tool('1.0.0', ['a']), tool('1.1.0', ['a', 'b'], ['b']), /newly requires b/],
  ])('names %s', (_, before, after, reason) => {
    expect(breakingChange(before, after)).toMatch(reason);
  });

  it('lets a parameter be added or become optional', () => {
    expect(breakingChange(tool('1.0.0', ['a'], ['a']), tool('1.1.0', ['a', 'b']))).toBeNull();
  });
});
