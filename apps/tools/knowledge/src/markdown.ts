/** A piece of a document that is better not cut; `lines` are the source's own, without its blank lines between blocks. */
export interface Block {
  kind: 'heading' | 'code' | 'table' | 'text';
  lines: string[];
  /** Headings only: 1 to 6. */
  level: number;
  /** Headings only: the words without their markers. */
  heading: string;
}

const FENCE = /^\s*(`{3,}|~{3,})/;
const ATX = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
/** A longer line is no heading; the expressions above and below stay cheap on it. */
const HEADING_LINE_CHARS = 500;
const UNDERLINE = /^ {0,3}(=+|-{2,})[ \t]*$/;

/** Reads Markdown, or plain text, which is Markdown without headings, into blocks in their order. */
export function readBlocks(source: string): Block[] {
  const blocks: Block[] = [];
  const lines = source.replace(/^\ufeff/, '').split(/\r\n|\r|\n/);
  for (let i = 0; i < lines.length;) {
    const block = blockAt(lines, i);
    if (block) blocks.push(block);
    i += block ? block.lines.length : 1;
  }
  return blocks;
}

function blockAt(lines: string[], start: number): Block | null {
  const first = lines[start]!;
  if (isBlank(first)) return null;
  const fence = FENCE.exec(first)?.[1];
  if (fence) return block('code', takeFence(lines, start, fence));
  const atx = atxOf(first);
  if (atx) return headingBlock([first], atx[1]!.length, atx[2] ?? '');
  const underline = UNDERLINE.exec(lines[start + 1] ?? '');
  if (underline && first.length <= HEADING_LINE_CHARS && !isTableRow(first) && !UNDERLINE.test(first))
    return headingBlock([first, lines[start + 1]!], underline[1]!.startsWith('=') ? 1 : 2, first.trim());
  return isTableRow(first) ? block('table', takeTable(lines, start)) : block('text', takeText(lines, start));
}

/** To the closing fence, or to the end of a document that forgot it. */
function takeFence(lines: string[], start: number, fence: string): string[] {
  const closing = new RegExp(`^\\s*${fence[0]}{${fence.length},}\\s*$`);
  let end = start + 1;
  while (end < lines.length && !closing.test(lines[end]!)) end += 1;
  return lines.slice(start, end + 1);
}

function takeTable(lines: string[], start: number): string[] {
  let end = start;
  while (end < lines.length && isTableRow(lines[end]!)) end += 1;
  return lines.slice(start, end);
}

function takeText(lines: string[], start: number): string[] {
  let end = start + 1;
  while (end < lines.length && !isBlank(lines[end]!) && !beginsOther(lines[end]!)) end += 1;
  return lines.slice(start, end);
}

const beginsOther = (line: string) => isFence(line) || atxOf(line) !== null || isTableRow(line);
export const isFence = (line: string) => FENCE.test(line);
const isTableRow = (line: string) => /^\s*\|.*\|\s*$/.test(line);
const atxOf = (line: string) => (line.length <= HEADING_LINE_CHARS ? ATX.exec(line) : null);
const isBlank = (line: string) => line.trim() === '';

const block = (kind: Block['kind'], lines: string[]): Block => ({ kind, lines, level: 0, heading: '' });

function headingBlock(lines: string[], level: number, text: string): Block {
  return { kind: 'heading', lines, level, heading: plainWords(text) };
}

/** A heading's words: link targets and emphasis marks say nothing to a reader of a path. */
function plainWords(text: string): string {
  return text
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[*`]/g, '')
    .trim();
}
