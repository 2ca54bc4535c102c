import { Readable } from 'node:stream';
import { readPrompt } from './prompt.js';

const nothing = Readable.from([]);

describe('readPrompt', () => {
  it('joins the words', async () => {
    await expect(readPrompt(['what', 'now'], nothing)).resolves.toBe('what now');
  });

  it('reads standard input for -, characters cut between chunks included', async () => {
    const bytes = Buffer.from('Grüße\n');
    const input = Readable.from([bytes.subarray(0, 3), bytes.subarray(3)]);
    await expect(readPrompt(['-'], input)).resolves.toBe('Grüße');
  });

  it.each([[['  ', '\n']], [['-']]])('refuses the blank prompt %j', async (words) => {
    await expect(readPrompt(words, nothing)).rejects.toMatchObject({ code: 'blank-prompt' });
  });

  it('refuses what no agent takes', async () => {
    await expect(readPrompt(['x'.repeat(100_001)], nothing)).rejects.toMatchObject({
      code: 'prompt-too-long',
    });
  });
});
