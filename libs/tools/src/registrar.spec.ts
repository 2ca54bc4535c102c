import { RetryableError, TerminalError, validationError } from '#libs/contracts';
import { refusalOf } from './registrar.js';

describe("the registry's refusal", () => {
  const tool = { name: 'forecast', version: '1.0.0' };

  it('names the tool and what is wrong with it', () => {
    const fields = [{ field: 'description', message: 'description must be longer' }];
    expect(refusalOf(tool, validationError(fields))).toMatchObject({
      code: 'validation',
      message: 'forecast@1.0.0: description must be longer',
    });
    const conflict = new TerminalError('tool-version-conflict', 'forecast@1.0.0 is published', {
      status: 409,
    });
    expect(refusalOf(tool, conflict)).toMatchObject({ message: 'forecast@1.0.0 is published' });
  });

  it('is not what passes', () => {
    const away = new RetryableError('unreachable', 'away');
    expect(refusalOf(tool, away)).toBe(away);
  });
});
