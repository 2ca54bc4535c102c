/** Function words that say nothing of a text's subject. */
const STOP_WORDS: ReadonlySet<string> = new Set(
  (
    'a about after all also am an and any are as at be because been before being but by can could did do does doing ' +
    'for from had has have having he her here hers him his how i if in into is it its itself just me might more most ' +
    'must my no nor not of off on once only or other our out over own same she should so some such than that the ' +
    'their them then there these they this those through to too under until up us very was we were what when where ' +
    'which while who whom why will with would you your'
  ).split(' '),
);

const segmenter = new Intl.Segmenter('en', { granularity: 'word' });

/** The words of `text` that carry meaning: NFKC, lower case, without punctuation and stop words, in their order. */
export function contentWords(text: string): string[] {
  const words: string[] = [];
  for (const { segment, isWordLike } of segmenter.segment(text.normalize('NFKC').toLowerCase()))
    if (isWordLike && !STOP_WORDS.has(segment)) words.push(segment);
  return words;
}

const BIGRAM_WEIGHT = 0.6;
const TRIGRAM_WEIGHT = 0.35;

/**
 * Embeds `text` by signed feature hashing (Weinberger et al. 2009, FNV-1a) of its words, word pairs and the words'
 * character trigrams, scaled to length 1. Two texts are near when they share words or parts of words: lexical
 * overlap only, it knows no synonyms. Deterministic on every machine. A text without words gives the zero vector.
 * @param dimensions 8 to 4096.
 */
export function featureHash(text: string, dimensions = 384): Float32Array {
  if (!Number.isInteger(dimensions) || dimensions < 8 || dimensions > 4096)
    throw new RangeError('dimensions must be a whole number from 8 to 4096');
  const counts = new Map<string, number>();
  const count = (feature: string, weight: number) => counts.set(feature, (counts.get(feature) ?? 0) + weight);
  let previous: string | undefined;
  for (const word of contentWords(text)) {
    count(word, 1);
    if (previous !== undefined) count(`${previous} ${word}`, BIGRAM_WEIGHT);
    for (const trigram of trigramsOf(word)) count(trigram, TRIGRAM_WEIGHT);
    previous = word;
  }
  const vector = new Float32Array(dimensions);
  for (const [feature, weight] of counts) {
    const hash = fnv1a(feature);
    // Repetition counts less and less. The lowest bit gives the sign, the others the place.
    const value = Math.sqrt(weight);
    vector[(hash >>> 1) % dimensions]! += hash & 1 ? value : -value;
  }
  return normalise(vector);
}

/** `#` marks the word's ends, so that beginnings and endings count as such. */
function* trigramsOf(word: string): Generator<string> {
  const marked = `#${word}#`;
  for (let at = 0; at + 3 <= marked.length; at += 1) yield `#3 ${marked.slice(at, at + 3)}`;
}

/** FNV-1a, 32 bits, over UTF-16 code units, with a final mix: its low bits alone are weak. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    hash ^= text.charCodeAt(at);
    hash = Math.imul(hash, 0x01000193);
  }
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

function normalise(vector: Float32Array): Float32Array {
  let sum = 0;
  for (const value of vector) sum += value * value;
  if (sum === 0) return vector;
  const scale = 1 / Math.sqrt(sum);
  for (let at = 0; at < vector.length; at += 1) vector[at]! *= scale;
  return vector;
}
