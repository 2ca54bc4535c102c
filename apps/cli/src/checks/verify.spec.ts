import { protoBaseline, type ProtoBaseline } from './proto-baseline.js';
import { schemaBaseline } from './schema-check.js';
import { STEPS, verify } from './verify.js';

jest.mock('./proto-baseline.js');
jest.mock('./schema-check.js');
const baseline = (value: ProtoBaseline) => jest.mocked(protoBaseline).mockReturnValue(value);

describe('verify', () => {
  let said: string;
  beforeEach(() => {
    said = '';
    baseline({ archive: '/tmp/before.tar', commit: 'c0ffee' });
    jest.mocked(schemaBaseline).mockReturnValue({ commit: 'c0ffee' });
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
      said += String(text);
      return true;
    });
  });
  afterEach(() => jest.restoreAllMocks());

  it('runs every step and succeeds', async () => {
    const run = jest.fn().mockResolvedValue(0);
    await expect(verify(false, run)).resolves.toBe(0);
    expect(run).toHaveBeenCalledTimes(STEPS.length);
  });

  it('leaves the tests out on request', async () => {
    const run = jest.fn().mockResolvedValue(0);
    await verify(true, run);
    expect(run).toHaveBeenCalledTimes(STEPS.length - 1);
    expect(run.mock.calls.flat(2).join(' ')).not.toContain('jest');
  });

  it('says which step had nothing to compare with, and why', async () => {
    baseline({ skipped: 'this is no git checkout' });
    const run = jest.fn().mockResolvedValue(0);
    await expect(verify(true, run)).resolves.toBe(0);
    expect(run.mock.calls.flat(2)).not.toContain('breaking');
    expect(said).toContain('SKIPPED: this is no git checkout');
    expect(said).toMatch(/✓ .*proto-breaking SKIPPED/);
  });

  it('stops at the first failure, with its exit code and the way on', async () => {
    const run = jest.fn().mockResolvedValueOnce(0).mockResolvedValueOnce(3);
    await expect(verify(false, run)).resolves.toBe(3);
    expect(run).toHaveBeenCalledTimes(2);
    expect(said).toContain('npm run lint -- --fix');
  });
});
