const BYTES_PER_TOKEN = 4;

/** Tokens at four bytes each, as English text has on average. */
export function countTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
}

/** The beginning of `text` that has at most `tokens` tokens and splits no character. */
export function firstTokens(text: string, tokens: number): string {
  const bytes = Buffer.from(text);
  let end = tokens * BYTES_PER_TOKEN;
  if (end >= bytes.length) return text;
  // 10xxxxxx continues a UTF-8 character.
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
