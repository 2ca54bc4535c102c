import { contentWords } from '#libs/llm';

/** Words of requests that say what to do, not what it is about. */
const REQUEST_WORDS = new Set(
  (
    'answer article case cite citation describe document documentation documents docs explain find give happen happens ' +
    'kind know list look mean means mention need note page passage please quote reference say search show source ' +
    'sources summarise summarize tell thing things want way ways work works write'
  ).split(' '),
);

const IMPERATIVES =
  /^(please|cite|quote|answer|use|include|give|provide|keep|be|write|return|respond|do|don['’]t|mention|list|reply)\b/i;

/** Groups of words that stand for each other; a match by group counts less than the word itself. */
const RELATED: string[][] = [
  'crash die fail kill dead death failure fault outage sigkill'.split(' '),
  'survive recover resume recovery continue restart restore'.split(' '),
  'delete remove erase drop purge'.split(' '),
  'create make add build generate'.split(' '),
  'start launch boot begin run'.split(' '),
  'stop end shutdown cancel abort drain'.split(' '),
  'setting option variable parameter configuration config configure'.split(' '),
  'install setup'.split(' '),
  'limit bound cap maximum budget quota'.split(' '),
  'fast quick speed latency throughput performance'.split(' '),
  'secure security protect safe'.split(' '),
  'store save keep persist write'.split(' '),
];

/** Reduces a word to what its forms share: crashes, crashed, crashing → crash; survives, surviving → surviv. */
export function stem(word: string): string {
  let base = word.replace(/['’]s$/, '');
  if (base.length > 4 && base.endsWith('ies')) base = `${base.slice(0, -3)}y`;
  else if (base.length > 5 && base.endsWith('ing')) base = single(base.slice(0, -3));
  else if (base.length > 4 && base.endsWith('ed')) base = single(base.slice(0, -2));
  else if (base.length > 4 && /(s|x|z|ch|sh)es$/.test(base)) base = base.slice(0, -2);
  else if (base.length > 3 && /[^su]s$/.test(base)) base = base.slice(0, -1);
  return base.length > 3 ? base.replace(/e$/, '') : base;
}

/** stopp → stop, but not pass → pas. */
function single(base: string): string {
  return base.replace(/([bdgmnprt])\1$/, '$1');
}

export function stemsOf(text: string): string[] {
  return contentWords(text).map(stem);
}

const groupOf = new Map(RELATED.flatMap((group) => group.map((word) => [stem(word), group] as const)));

/** From this length on, a stem is also found at the beginning of a longer word: flush in flushall. */
const PREFIX_CHARS = 5;
const PREFIX_WEIGHT = 0.7;
const RELATED_WEIGHT = 0.6;

/** How well `stems` speak of `term`: 1 for the word itself, less for a longer or a related word, 0 for neither. */
export function matchOf(term: string, stems: ReadonlySet<string>): number {
  if (stems.has(term)) return 1;
  if (term.length >= PREFIX_CHARS) for (const word of stems) if (word.startsWith(term)) return PREFIX_WEIGHT;
  if (groupOf.get(term)?.some((word) => stems.has(stem(word)))) return RELATED_WEIGHT;
  return 0;
}

/** Characters of a question that are looked at. */
const QUESTION_CHARS = 2000;
const MAX_KEYWORDS = 12;

/** `keywords`, each followed by up to two words that stand for it. */
export function widened(keywords: string[]): string[] {
  const related = (word: string) =>
    (groupOf.get(stem(word)) ?? []).filter((other) => stem(other) !== stem(word));
  return [...new Set(keywords.flatMap((word) => [word, ...related(word).slice(0, 2)]))];
}

/** What a question is about, in its own words and order: without instructions such as “Cite the documents.”. */
export function keywordsOf(question: string): string[] {
  const sentences = question.slice(0, QUESTION_CHARS).split(/(?<=[.!?])\s+|\n+/);
  const asking = sentences.filter((sentence) => !IMPERATIVES.test(sentence.trim()));
  const words = contentWords((asking.length > 0 ? asking : sentences).join(' '));
  const subject = words.filter((word) => !REQUEST_WORDS.has(word));
  return [...new Set(subject.length > 0 ? subject : words)].slice(0, MAX_KEYWORDS);
}
