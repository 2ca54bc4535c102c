import { sentencesOf } from './sentences.js';
import type { Finding } from './tool-results.js';
import { keywordsOf, matchOf, stem, stemsOf } from './words.js';

interface Candidate {
  sentence: string;
  stems: Set<string>;
  /** Stems of its title and headings. */
  context: Set<string>;
  finding: Finding;
  source: string;
  position: number;
  score: number;
  matched: number;
}

const MAX_SENTENCES = 6;
const MIN_SENTENCES = 3;
const CONTEXT_WEIGHT = 0.35;
/** What its passage says of the question, and how early the tool listed it, speak for a sentence too. */
const PASSAGE_WEIGHT = 0.35;
const RANK_WEIGHT = 0.15;
/** Each further sentence of one document counts that much less. */
const SAME_SOURCE = 0.8;
/** A sentence that shares that much of its words with a chosen one says the same. */
const SAME_WORDS = 0.55;

/**
 * Answers from the sentences of `findings` alone: ranks them by the question's words, rare words more, and quotes
 * three to six, each with the number of its source. Null when no sentence speaks of the question.
 */
export function composeAnswer(
  question: string,
  findings: Finding[],
  maxSentences = MAX_SENTENCES,
): string | null {
  const terms = [...new Set(keywordsOf(question).map(stem))];
  const candidates = rank(terms, candidatesOf(findings));
  if (!candidates.some((candidate) => candidate.matched > 0 && speaksOf(candidate.finding, terms)))
    return null;
  return write(
    pick(
      candidates.filter(({ matched }) => matched > 0),
      maxSentences,
    ),
  );
}

/** One shared word is chance; a text about the question has two of its words. */
function speaksOf(finding: Finding, terms: string[]): boolean {
  const stems = stemsOfFinding(finding);
  return terms.filter((term) => matchOf(term, stems) > 0).length >= Math.min(2, terms.length);
}

function stemsOfFinding({ text, title }: Finding): Set<string> {
  return new Set(stemsOf(`${title} ${text}`));
}

export const ANSWER_SENTENCES = { min: MIN_SENTENCES, max: MAX_SENTENCES };

function candidatesOf(findings: Finding[]): Candidate[] {
  const seen = new Set<string>();
  const candidates: Candidate[] = [];
  for (const finding of findings) {
    const context = new Set(stemsOf(finding.title));
    const source = finding.location || finding.title || finding.tool;
    for (const [position, sentence] of sentencesOf(finding.text).entries()) {
      if (seen.has(sentence)) continue;
      seen.add(sentence);
      const stems = new Set(stemsOf(sentence));
      candidates.push({ sentence, stems, context, finding, source, position, score: 0, matched: 0 });
    }
  }
  return candidates;
}

function rank(terms: string[], candidates: Candidate[]): Candidate[] {
  const weights = new Map(
    terms.map((term) => {
      const having = candidates.filter(
        ({ stems, context }) => matchOf(term, stems) > 0 || matchOf(term, context) > 0,
      ).length;
      return [term, Math.log(1 + candidates.length / (1 + having))];
    }),
  );
  const total = [...weights.values()].reduce((sum, weight) => sum + weight, 0) || 1;
  const coverage = new Map<Finding, number>();
  for (const { finding } of candidates)
    if (!coverage.has(finding)) {
      const stems = stemsOfFinding(finding);
      const covered = [...weights].reduce((sum, [term, weight]) => sum + weight * matchOf(term, stems), 0);
      coverage.set(finding, covered / total);
    }
  for (const candidate of candidates) {
    let sum = 0;
    for (const [term, weight] of weights) {
      const own = matchOf(term, candidate.stems);
      if (own > 0) candidate.matched += 1;
      sum += weight * Math.max(own, CONTEXT_WEIGHT * matchOf(term, candidate.context));
    }
    const around =
      PASSAGE_WEIGHT * coverage.get(candidate.finding)! + RANK_WEIGHT / (1 + candidate.finding.rank);
    // A single word of several is found anywhere, the product's name most of all.
    const chance = candidate.matched === 1 && terms.length > 2 ? 0.5 : 1;
    candidate.score = ((sum / total) * chance + around) * form(candidate.sentence);
  }
  return candidates.sort((a, b) => b.score - a.score);
}

/** Whole sentences of middle length read best; what begins in lower case was cut, and much notation is a list. */
function form(sentence: string): number {
  const words = sentence.split(' ').length;
  const length = words < 8 ? 0.75 : words > 40 ? 0.6 : 1;
  const whole = /^[^a-z]/.test(sentence) && /[.!?]["'”’)]?$/.test(sentence) ? 1 : 0.7;
  const isList = (sentence.match(/[·→|=]/g)?.length ?? 0) > 2;
  return length * whole * (isList ? 0.6 : 1);
}

/** Greedy: the best that is left, less for each chosen one of its source, never the same words twice. */
function pick(ranked: Candidate[], max: number): Candidate[] {
  const best = ranked[0]!.score;
  const chosen: Candidate[] = [];
  const left = [...ranked];
  while (chosen.length < max && left.length > 0) {
    const worth = ({ score, source }: Candidate) =>
      score * SAME_SOURCE ** chosen.filter((other) => other.source === source).length;
    const next = left.reduce((top, candidate) => (worth(candidate) > worth(top) ? candidate : top));
    if (worth(next) < best * (chosen.length < MIN_SENTENCES ? 0.2 : 0.4)) break;
    left.splice(left.indexOf(next), 1);
    if (!chosen.some((other) => similarity(other.stems, next.stems) > SAME_WORDS)) chosen.push(next);
  }
  return chosen;
}

function similarity(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  const both = [...a].filter((word) => b.has(word)).length;
  return both / (a.size + b.size - both || 1);
}

/** Sentences of one passage stand together, in their own order. */
function write(chosen: Candidate[]): string {
  const findings = [...new Set(chosen.map(({ finding }) => finding))];
  const citations = [...new Set(findings.map(citationOf))];
  const sentences = findings.flatMap((finding) =>
    chosen
      .filter((candidate) => candidate.finding === finding)
      .sort((a, b) => a.position - b.position)
      .map(({ sentence }) => `${ended(sentence)} [${citations.indexOf(citationOf(finding)) + 1}]`),
  );
  const sources = citations.map((citation, index) => `[${index + 1}] ${citation}`);
  return `${sentences.join(' ')}\n\nSources:\n${sources.join('\n')}`;
}

function ended(sentence: string): string {
  return /[.!?]["'”’)]?$/.test(sentence) ? sentence : `${sentence}.`;
}

function citationOf({ title, location, tool }: Finding): string {
  return [title, location].filter(Boolean).join(' — ') || tool;
}
