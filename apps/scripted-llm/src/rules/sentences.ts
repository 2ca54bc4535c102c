const MIN_WORDS = 5;
const MAX_CHARS = 400;

const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });

/**
 * The readable sentences of Markdown, in their order: without headings, code, HTML and link targets. List items and
 * table cells count when they are sentences of their own.
 */
export function sentencesOf(markdown: string): string[] {
  return blocksOf(markdown)
    .flatMap((block) => splitSentences(plainText(block)))
    .filter(isReadable);
}

/** Paragraphs with their wrapped lines joined; each list item and table cell by itself. */
function blocksOf(markdown: string): string[] {
  const blocks: string[] = [];
  let paragraph = '';
  const flush = () => {
    if (paragraph !== '') blocks.push(paragraph);
    paragraph = '';
  };
  let fence: string | null = null;
  for (const line of markdown.split(/\r?\n/)) {
    const mark = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
    if (fence !== null ? mark?.startsWith(fence) : mark) {
      fence = fence === null ? mark! : null;
      flush();
    } else if (fence !== null) continue;
    else if (/^\s*\|/.test(line)) {
      flush();
      blocks.push(...line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
    } else if (/^\s*(#{1,6}\s|={3,}\s*$|[-*_](\s*[-*_]){2,}\s*$|$)/.test(line)) flush();
    else {
      const item = /^\s*(?:[-*+•]|\d{1,3}[.)])\s+(.*)$/.exec(line)?.[1];
      if (item !== undefined) flush();
      const text = (item ?? line).replace(/^\s*>+\s?/, '').trim();
      paragraph = paragraph === '' ? text : `${paragraph} ${text}`;
    }
  }
  flush();
  return blocks;
}

function plainText(block: string): string {
  return (
    block
      // In code, angle brackets are text.
      .replace(/`([^`]*)`|<!--.*?-->|<\/?[a-z][^>]*>/gi, (_, code?: string) => code ?? ' ')
      .replace(/!\[[^\]]*\]\([^)]*\)/g, ' ')
      .replace(/\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])/g, '$1')
      .replace(/(\*\*|__)(?=\S)(.+?)\1/g, '$2')
      .replace(/(?<!\w)[*_](?=\S)([^*_]+)[*_](?!\w)/g, '$1')
      .replace(/\\\|/g, '|')
      .replace(/\s+/g, ' ')
      .trim()
  );
}

function splitSentences(text: string): string[] {
  const sentences: string[] = [];
  for (const { segment } of segmenter.segment(text)) {
    const previous = sentences.at(-1);
    // An abbreviation ends no sentence.
    if (previous !== undefined && /\b(e\.g|i\.e|etc|vs|cf|no)\.\s*$/i.test(previous))
      sentences[sentences.length - 1] = previous + segment;
    else sentences.push(segment);
  }
  return sentences.map((sentence) => sentence.trim());
}

/** Long enough to say something, short enough to quote, and more words than symbols; a line that introduces a list is none. */
function isReadable(sentence: string): boolean {
  if (sentence.length > MAX_CHARS || /[:,;–—-]$/.test(sentence)) return false;
  const words = sentence.split(' ').filter((word) => /\p{L}{2}/u.test(word));
  const letters = sentence.replace(/[^\p{L}\s]/gu, '').length;
  return words.length >= MIN_WORDS && letters / sentence.length > 0.75;
}
