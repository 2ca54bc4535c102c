import { clip } from './clip.js';
import { isFence, readBlocks, type Block } from './markdown.js';

/** What is searched and cited: a part of a document that can be read alone. */
export interface Passage {
  /** The headings above it, outermost first: `Architecture › Ideas`; empty before the first heading. */
  heading: string;
  text: string;
}

export interface SplitDocument {
  title: string;
  passages: Passage[];
}

/** Raise it when the splitter changes: documents are then split anew although their text is the same. */
export const SPLITTER_VERSION = 1;

/** UTF-16 code units of a passage's text. */
export const PASSAGE_CHARS = { wanted: 800, max: 1200 } as const;
const HEADING_CHARS = 300;
const TITLE_CHARS = 200;

/**
 * Splits Markdown or plain text by headings, then by blocks, into passages of about `wanted` to `max` code units; a short
 * section is a short passage. Tables that are cut repeat their header row, code its fence. No line of the source is lost.
 */
export function splitDocument(path: string, source: string): SplitDocument {
  const blocks = readBlocks(source);
  const passages: Passage[] = [];
  const headings: Block[] = [];
  let gathered: string[] = [];
  let onlyHeadings = true;
  let heading = '';

  const flush = () => {
    if (gathered.length > 0) passages.push({ heading, text: gathered.join('\n\n') });
    gathered = [];
    onlyHeadings = true;
  };
  for (const block of blocks) {
    if (block.kind === 'heading') {
      // A heading without text of its own introduces the section below it.
      if (!onlyHeadings) flush();
      while (headings.length > 0 && headings.at(-1)!.level >= block.level) headings.pop();
      headings.push(block);
      heading = headingPath(headings);
    }
    for (const piece of cut(block)) {
      const length = gathered.reduce((sum, part) => sum + part.length + 2, 0);
      if (length + piece.length > PASSAGE_CHARS.max || (length >= PASSAGE_CHARS.wanted && !onlyHeadings))
        flush();
      gathered.push(piece);
      onlyHeadings &&= block.kind === 'heading';
    }
  }
  flush();
  return { title: titleOf(path, blocks), passages };
}

function headingPath(headings: Block[]): string {
  const words = headings.map(({ heading }) => heading).filter(Boolean);
  return clip(words.join(' › '), HEADING_CHARS);
}

function titleOf(path: string, blocks: Block[]): string {
  const named = blocks.find((block) => block.kind === 'heading' && block.heading !== '');
  const fileName = path.split('/').at(-1)!;
  return clip(named?.heading ?? (fileName.replace(/(?<=.)\.[^.]*$/, '') || path), TITLE_CHARS);
}

/** A block as it is, or in pieces of at most `max` code units that each read like the block. */
function cut(block: Block): string[] {
  const whole = block.lines.join('\n');
  if (whole.length <= PASSAGE_CHARS.max) return [whole];
  if (block.kind === 'code') return cutFramed(block.lines, 1, isFence(block.lines.at(-1)!) ? 1 : 0);
  if (block.kind === 'table')
    return cutFramed(block.lines, /^[\s|:-]+$/.test(block.lines[1] ?? '') ? 2 : 1, 0);
  return cutLines(block.lines, PASSAGE_CHARS.max);
}

/** Each piece between the block's first `above` and last `below` lines, unless these are too long to be repeated. */
function cutFramed(lines: string[], above: number, below: number): string[] {
  const top = lines.slice(0, above);
  const bottom = lines.slice(lines.length - below);
  const frame = [...top, ...bottom].reduce((sum, line) => sum + line.length + 1, 0);
  if (frame > PASSAGE_CHARS.max / 2) return cutLines(lines, PASSAGE_CHARS.max);
  const pieces = cutLines(lines.slice(above, lines.length - below), PASSAGE_CHARS.max - frame);
  return pieces.length === 0
    ? [[...top, ...bottom].join('\n')]
    : pieces.map((piece) => [...top, piece, ...bottom].join('\n'));
}

function cutLines(lines: string[], max: number): string[] {
  const pieces: string[] = [];
  let gathered = '';
  for (const line of lines.flatMap((long) => cutLine(long, max))) {
    if (gathered !== '' && gathered.length + 1 + line.length > max) {
      pieces.push(gathered);
      gathered = '';
    }
    gathered = gathered === '' ? line : `${gathered}\n${line}`;
  }
  if (gathered.trim() !== '') pieces.push(gathered);
  return pieces;
}

/** Cuts a line at the end of a sentence, else between words, else anywhere but inside a character. */
function cutLine(line: string, max: number): string[] {
  const parts: string[] = [];
  let rest = line;
  while (rest.length > max) {
    const head = clip(rest, max);
    const sentence = Math.max(...['. ', '! ', '? '].map((mark) => head.lastIndexOf(mark) + 1));
    const word = head.lastIndexOf(' ');
    const end = [sentence, word].find((at) => at > max / 2) ?? head.length;
    parts.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...parts, rest];
}
