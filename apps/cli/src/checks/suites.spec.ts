import { jestArguments } from './suites.js';

describe('jestArguments', () => {
  it.each([
    [[], []],
    [['chaos'], ['--selectProjects', 'chaos']],
    [
      ['unit', '-t', 'lease'],
      ['-t', 'lease', '--selectProjects', 'unit'],
    ],
    [
      ['unit', '--', '--watch'],
      ['--watch', '--selectProjects', 'unit'],
    ],
    [
      ['libs/agent', '--bail'],
      ['libs/agent', '--bail'],
    ],
    [['--', 'libs/agent'], ['libs/agent']],
  ])('%j becomes %j', (args, expected) => {
    expect(jestArguments(args)).toEqual(expected);
  });
});
