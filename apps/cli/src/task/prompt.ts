import { TASK_LIMITS, TerminalError } from '#libs/contracts';

/**
 * The prompt of `./baton run`: the words, or standard input for `-`.
 * @throws TerminalError `blank-prompt`, `prompt-too-long`.
 */
export async function readPrompt(words: string[], input: AsyncIterable<Buffer | string>): Promise<string> {
  const prompt = (words.length === 1 && words[0] === '-' ? await readAll(input) : words.join(' ')).trim();
  if (prompt === '') throw new TerminalError('blank-prompt', 'The prompt is blank: ./baton run "What to do"');
  if (prompt.length > TASK_LIMITS.promptChars)
    throw new TerminalError(
      'prompt-too-long',
      `The prompt may have ${TASK_LIMITS.promptChars} characters, not ${prompt.length}`,
    );
  return prompt;
}

async function readAll(input: AsyncIterable<Buffer | string>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of input) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}
