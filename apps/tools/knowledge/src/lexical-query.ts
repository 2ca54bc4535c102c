/** What of a question is searched word by word when no passage matches it as a whole. */
export interface RelaxedQuery {
  /** Any of these may match; each is safe text for `to_tsquery`. */
  terms: string[];
  /** None of these may match. */
  excluded: string[];
}

const MAX_TERMS = 32;
/** Words, and compounds such as `node.js`, `at-most-once` and `run_id`, which are indexed as a whole too. */
const WORD = /(?<![\p{L}\p{N}_])(-?)([\p{L}\p{N}]+(?:[._-][\p{L}\p{N}]+)*)/gu;

/**
 * Postgres' own query parser asks for every word, so a natural-language question rarely matches a passage as a whole.
 * This is the same question with an "or" between its words; stop words are left for Postgres to drop.
 * Words of 64 characters and more are ignored.
 */
export function relaxedQuery(question: string): RelaxedQuery {
  const terms = new Set<string>();
  const excluded = new Set<string>();
  for (const [, minus, compound] of question.toLowerCase().matchAll(WORD)) {
    const parts = compound!.split(/[._-]/).filter((part) => part.length < 64);
    const target = minus && !terms.has(compound!) ? excluded : terms;
    for (const part of parts) target.add(part);
    if (parts.length > 1 && compound!.length < 64 && target === terms) terms.add(`'${compound!}'`);
  }
  return {
    terms: [...terms].slice(0, MAX_TERMS),
    excluded: [...excluded].filter((word) => !terms.has(word)).slice(0, MAX_TERMS),
  };
}
